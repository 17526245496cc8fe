# shellcheck shell=bash
# The functions of all .sbatch files: they read this file, then call lrps_train, lrps_merge or lrps_promote. README.md
# lists the variables.

lrps_say() { echo "lrps: $*"; }

lrps_refuse() {
  lrps_say "$*" >&2
  exit 78
}

# Read the settings of this cluster. A site file need not be written for `set -u`, and may end with a test.
lrps_site() {
  local lrps_file=${LRPS_SITE:-$LRPS_SLURM_DIR/site.sh}
  if [[ ! -r $lrps_file ]] || ! bash -n "$lrps_file"; then
    lrps_refuse "LRPS_SITE: $lrps_file is missing or no bash script on $(hostname). Fix: put a correct one on a shared disk."
  fi
  set +u
  # shellcheck source=slurm/site.sh
  . "$lrps_file"
  set -u
}

# Print the newest checkpoint that Megatron has finished. It writes both metadata files last.
lrps_newest() {
  local folder newest=none
  for folder in "$LRPS_SAVE/paths/$LRPS_PATH/checkpoints"/iter_*; do
    [[ -s $folder/.metadata && -s $folder/metadata.json ]] && newest=${folder##*/iter_}
  done
  echo "$newest"
}

# Print what changes when a requeued job makes progress: the newest checkpoint, or the record of a promotion.
lrps_progress() {
  if [[ $does == promote ]]; then
    cat "$LRPS_SAVE/eval/$LRPS_PATH"/*.json 2>/dev/null | cksum | cut -d' ' -f1
  else
    lrps_newest
  fi
}

# Set defaults, and refuse if a variable is missing or wrong.
lrps_settings() {
  local name
  for name in LRPS_PLAN LRPS_SAVE LRPS_PATH; do
    [[ -n ${!name:-} ]] || lrps_refuse "$name is not set. Fix: set it as slurm/README.md says."
  done
  [[ -r $LRPS_PLAN ]] || lrps_refuse "LRPS_PLAN: $LRPS_PLAN cannot be read on $(hostname). Fix: put it on a shared disk."
  LRPS_DEVICE=${LRPS_DEVICE:-gpu}
  LRPS_EXIT_SIGNAL=${LRPS_EXIT_SIGNAL:-SIGUSR2}
  [[ $does != train || $LRPS_EXIT_SIGNAL =~ ^(SIG)?USR[12]$ ]] ||
    lrps_refuse "LRPS_EXIT_SIGNAL is $LRPS_EXIT_SIGNAL, but srun only passes USR1 and USR2 on to the ranks, and ends them at once" \
      "on others. Fix: choose one of these two, as megatron.exit-signal in the plan."
  LRPS_MAX_REQUEUES=${LRPS_MAX_REQUEUES:-3}
  LRPS_HEALTH_SECONDS=${LRPS_HEALTH_SECONDS:-120}
  [[ -n ${LRPS_CONTAINER:-} ]] || LRPS_PYTHON=${LRPS_PYTHON:-${LRPS_HOST_PYTHON:-}}
  LRPS_PYTHON=${LRPS_PYTHON:-python3}
  logs=$LRPS_SAVE/paths/$LRPS_PATH/logs
  mkdir -p "$logs" || exit 74
}

# Print "fit" if this node can train, else the reason in one line. LRPS_HEALTH_CHECK is a command of the site.
lrps_healthy() {
  local found wanted=${SLURM_GPUS_ON_NODE:-0} folder
  for folder in "$LRPS_SAVE" "${LRPS_PLAN%/*}"; do
    [[ -d $folder ]] || { echo "$folder does not exist"; return; }
  done
  [[ -w $LRPS_SAVE ]] || { echo "$LRPS_SAVE is not writable"; return; }
  if [[ $LRPS_DEVICE == gpu && $wanted -gt 0 ]]; then
    found=$(nvidia-smi --list-gpus | grep -c '^GPU ')
    ((found >= wanted)) || { echo "only $found of $wanted GPUs answer nvidia-smi"; return; }
  fi
  if [[ -n $LRPS_HEALTH_CHECK ]] && ! found=$(timeout --kill-after=10 300 bash -c "$LRPS_HEALTH_CHECK" 2>&1); then
    echo "LRPS_HEALTH_CHECK failed: ${found##*$'\n'}"
    return
  fi
  echo fit
}

# Print the report of one node, marked so that a login banner is not taken for it.
lrps_check() {
  local why
  # A check that hangs in a dead disk or driver cannot even be killed, so it is not waited for.
  exec 3< <(exec </dev/null 2>/dev/null && lrps_healthy)
  IFS= read -r -t "$1" -u 3 why || why="gave no answer in $1 s"
  [[ $why == fit ]] || echo "lrps-unfit $SLURMD_NODENAME $why"
}

# Check all nodes at once. If some are not fit, requeue the job with these nodes excluded.
lrps_health() {
  local answers report bad count seconds=$LRPS_HEALTH_SECONDS
  export LRPS_SAVE LRPS_PLAN LRPS_DEVICE LRPS_HEALTH_CHECK=${LRPS_HEALTH_CHECK:-}
  [[ -z $LRPS_HEALTH_CHECK ]] || seconds=$((seconds + 310))
  answers=$(mktemp) || return
  timeout --signal="$LRPS_EXIT_SIGNAL" --kill-after=30 $((seconds + 120)) \
    srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 \
    bash -c "$(declare -f lrps_healthy lrps_check); lrps_check $seconds" >"$answers" &
  lrps_wait $!
  report=$(sed -n 's/^lrps-unfit //p' "$answers")
  rm -f "$answers"
  [[ -z $asked ]] || return
  if [[ -z $report ]]; then
    ((code == 0)) || lrps_say "the health check could not run on all nodes; training starts nevertheless"
    return
  fi
  while read -r line; do lrps_say "unfit node: $line" >&2; done <<<"$report"
  bad=$(cut -d' ' -f1 <<<"$report" | sort -u | paste -sd, -)
  count=$(tr ',' '\n' <<<"$bad" | wc -l)
  if ((count == SLURM_NNODES && count > 1)); then
    lrps_refuse "no node of this job is fit: $bad. Fix: see above; the fault is the same on all nodes, so it is probably not theirs."
  fi
  code=75
  lrps_count
  lrps_requeue "$bad"
}

# Set where the ranks of torch.distributed meet. The port comes from the job's id, so that jobs that share a node do not
# meet.
lrps_rendezvous() {
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
  export MASTER_ADDR MASTER_PORT
  export CUDA_DEVICE_MAX_CONNECTIONS=${CUDA_DEVICE_MAX_CONNECTIONS:-1}
  export PYTHONUNBUFFERED=1
  # Since Slurm 22.05 srun does not take this from sbatch by itself.
  [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  if [[ $LRPS_DEVICE == cpu ]]; then
    export TORCH_COMPILE_DISABLE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
  fi
}

# Set the array `command` to the command of one task, and `options` to the options of srun. The arguments are passed on to
# Megatron or to `lrps promote`.
lrps_command() {
  # `exec`, so that signals reach Python and not a shell. Each task expands the variables itself.
  # shellcheck disable=SC2016
  local task='export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID; exec "$@"'
  options=(--kill-on-bad-exit=1 --wait=0 --label) # Python flushes each line, srun passes on whole ones
  [[ $does == train ]] || options+=(--nodes=1 --ntasks=1)
  if [[ $does == promote ]]; then
    command=("$LRPS_PYTHON" -m megatron_lrps.cli promote "$LRPS_PLAN" "$LRPS_PATH")
  elif [[ $does == merge ]]; then
    command=("$LRPS_PYTHON" -m megatron_lrps.launch.merge_job --lrps-plan "$LRPS_PLAN" --lrps-path "$LRPS_PATH")
    [[ $LRPS_DEVICE != cpu ]] || command+=(--lrps-cpu)
  else
    command=("$LRPS_PYTHON" -m megatron_lrps.pretrain --lrps-plan "$LRPS_PLAN" --lrps-path "$LRPS_PATH")
    [[ -z ${LRPS_UNTIL:-} ]] || command+=(--lrps-until "$LRPS_UNTIL")
    [[ $LRPS_DEVICE != cpu ]] || command+=(--lrps-cpu)
  fi
  command+=("$@")
  if [[ $does == train && -n ${LRPS_FT_LAUNCHER:-} ]]; then
    lrps_ft_launcher
    lrps_contained
    return
  fi
  lrps_contained
  command=(bash -c "$task" task "${command[@]}")
}

# Let ft_launcher start the ranks of `command`: it is one task on each node, with all that the job has there.
lrps_ft_launcher() {
  local ranks=$((SLURM_NTASKS / SLURM_NNODES))
  ((ranks * SLURM_NNODES == SLURM_NTASKS)) ||
    lrps_refuse "$SLURM_NTASKS ranks cannot be the same number on each of $SLURM_NNODES nodes, as ft_launcher wants it." \
      "Fix: give sbatch --nodes and --ntasks-per-node."
  options+=(--nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpu-bind=none)
  [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || options+=(--cpus-per-task=$((SLURM_CPUS_PER_TASK * ranks)))
  command=("$LRPS_PYTHON" -m megatron_lrps.launch.slurm.node_launcher "$LRPS_PLAN" "$ranks" "${command[@]:2}")
}

# Let the container run `command`, if there is a container.
lrps_contained() {
  case ${LRPS_CONTAINER:+${LRPS_CONTAINER_RUNTIME:-pyxis}} in
    "") ;;
    pyxis)
      options+=("--container-image=$LRPS_CONTAINER" "--container-mounts=${LRPS_MOUNTS:-$LRPS_SAVE}" --no-container-mount-home)
      ;;
    apptainer)
      command=(apptainer exec --nv --env PYTHONNOUSERSITE=1 --bind "${LRPS_MOUNTS:-$LRPS_SAVE}" "$LRPS_CONTAINER" "${command[@]}")
      ;;
    *) lrps_refuse "LRPS_CONTAINER_RUNTIME: $LRPS_CONTAINER_RUNTIME is unknown. Fix: pyxis or apptainer." ;;
  esac
}

# Whether to ask lrps_trained after a step that ended with code $1. Not if the ranks have stopped: they know that they were
# not at their end. Nor if they were asked to stop and the job is requeued anyway: the time limit may be near, and the job
# finds out when it starts again.
lrps_worth_asking() {
  [[ $1 != 75 ]] && [[ -z $asked || ! $1 =~ ^(134|137|143)$ ]]
}

# Whether LRPS_PATH is trained to the end of this job's leg, however the ranks have ended. `lrps run` and `lrps status`
# judge in the same way. $1 is the number of lines that the history had before the ranks started.
lrps_trained() {
  local options=() command=("$LRPS_PYTHON" -m megatron_lrps.launch.slurm.leg_trained "$LRPS_PLAN" "$LRPS_PATH" "${LRPS_UNTIL:-0}" "$1")
  lrps_contained
  timeout --kill-after=10 120 srun --nodes=1 --ntasks=1 "${options[@]}" "${command[@]}"
}

# On USR1, which comes before the time limit: ask the ranks to save and stop, and watch whether they do.
lrps_stop() {
  asked=1 signalled=1
  lrps_say "asked to save and stop: the ranks get $LRPS_EXIT_SIGNAL"
  [[ -z $step ]] || kill -s "$LRPS_EXIT_SIGNAL" "$step"
  [[ -z $training || -n $overseen ]] || { overseen=1 && lrps_beside stop_guard; }
}

# Run module $1 beside the ranks, with the Python of this node and the options that follow. `guards` are the processes of
# such modules.
lrps_beside() {
  [[ -z ${LRPS_CONTAINER:-} || -n ${LRPS_HOST_PYTHON:-} ]] || return 0 # only the container has megatron_lrps
  LRPS_SRUN=$step "${LRPS_HOST_PYTHON:-$LRPS_PYTHON}" -m "megatron_lrps.launch.slurm.$1" "$LRPS_PLAN" "$LRPS_PATH" "${@:2}" &
  guards+=($!)
}

# Wait for the step that runs as process $1, and set `code` to its exit code.
lrps_wait() {
  local signalled
  step=$1
  [[ -z $asked ]] || lrps_stop # asked between its start and now
  while
    signalled=
    wait "$step"
    code=$?
    [[ -n $signalled ]] # then `wait` has ended, not the step
  do :; done
  step=
}

# Run the ranks as one step, and set `code` to its exit code. They are watched from this node: whether they follow `lrps
# stop` and end with rank 0, and with LRPS_ALERTS alerts.stall and alerts.straggler of the plan.
lrps_step() {
  local overseen='' guards=()
  code=75
  [[ -z $asked ]] || return # there is nothing to save yet
  [[ $does != train ]] || training=1
  srun "${options[@]}" "${command[@]}" &
  step=$!
  [[ -z $training || -z ${LRPS_ALERTS:-} ]] || lrps_beside alert_guard
  [[ -z $training ]] || lrps_beside stop_guard --on-request
  lrps_wait "$step"
  trap '' USR1
  ((${#guards[@]} == 0)) || kill "${guards[@]}" 2>/dev/null
  # The signal ends a rank until Megatron listens to it. Nothing that was saved is lost.
  [[ -z $asked || $code != $((128 + $(kill -l "$LRPS_EXIT_SIGNAL"))) ]] || code=75
  # ft_launcher ends with 1 whatever its ranks' codes are. A rank that fails by itself leaves its word; others are killed.
  [[ -z $training || -z ${LRPS_FT_LAUNCHER:-} || $code != 1 || -n $(cat "$LRPS_FAILURE"* 2>/dev/null) ]] || code=137
}

# Print the line of JSON in which rank 0 recorded its end since line $1 of the history. srun's code is the highest of all
# tasks, so it hides a refusal behind the ranks that were killed for it.
lrps_recorded() {
  tail -n "+$(($1 + 1))" "$events" 2>/dev/null | grep '"exit_code": [0-9]' | tail -n 1
}

# Print the word of the first rank that failed, "CODE rank N: why". That is not always rank 0, which is then killed.
lrps_failed() {
  local left
  for left in "$LRPS_FAILURE"*; do # listed, because a disk's client may remember that the file did not exist
    [[ ! -s $left ]] || head -n 1 "$left"
    rm -f "$left"
  done
}

# Count the requeues in a row without progress, and end the job after LRPS_MAX_REQUEUES of them.
lrps_count() {
  local count=0 before='' newest what fix
  newest=$(lrps_progress)
  what="checkpoint $newest without a new one" fix="a longer time limit, or a shorter save-interval"
  [[ $does != promote ]] || what="record $newest without a new one" fix="a longer time limit"
  [[ ! -r $file ]] || read -r count before <"$file" || true
  [[ $count =~ ^[0-9]+$ && $before == "$newest" ]] || count=0
  if ((count >= LRPS_MAX_REQUEUES)); then
    lrps_say "requeued $count times since $what: not again. Fix: see above for the reason; it may need $fix." >&2
    rm -f "$file"
    exit "$code"
  fi
  echo "$((count + 1)) $newest" >"$file" || exit 74
  lrps_say "to be continued: requeued, $((count + 1)) of $LRPS_MAX_REQUEUES since ${what% without*}"
}

# Requeue this job. $1 names nodes to exclude from now on, or is empty.
lrps_requeue() {
  local state tries=0 excluded
  until state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T); do
    ((tries++ < 10)) || exit "$code" # minutes, in which a controller restarts
    sleep 15
  done
  [[ $state == RUNNING ]] || exit "$code" # a job that is being cancelled must stay cancelled
  if [[ -n ${1:-} ]]; then
    excluded=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%x)
    trap '' TERM # A requeue sends it. Slurm excludes nodes of waiting jobs only, so this shell must outlive it.
    scontrol requeue "$SLURM_JOB_ID" || exit "$code"
    scontrol update JobId="$SLURM_JOB_ID" ExcNodeList="${excluded:+$excluded,}$1" ||
      lrps_say "Slurm did not exclude $1; it may come again" >&2
    exit "$code"
  fi
  scontrol requeue "$SLURM_JOB_ID" || exit "$code"
  sleep 60 # Slurm ends this shell
  exit "$code"
}

# Train LRPS_PATH, until LRPS_UNTIL if that is set, and end with the exit code of the ranks. The arguments are passed on to
# Megatron.
lrps_train() { lrps_job train "$@"; }

# Merge the checkpoints that LRPS_PATH is made of.
lrps_merge() {
  LRPS_EXIT_SIGNAL=SIGTERM # a merge that is cut off leaves nothing, and begins anew
  lrps_job merge "$@"
}

# Promote LRPS_PATH: verify, export, check, score and release it. The arguments are passed on to `lrps promote`.
lrps_promote() {
  LRPS_EXIT_SIGNAL=SIGTERM # a finished step of the promotion is not lost
  lrps_job promote "$@"
}

lrps_job() {
  local does=$1 logs file events lines options command code last recorded failed step='' asked='' training=''
  shift
  lrps_settings
  file=$logs/requeues
  [[ $does != promote ]] || file+=-of-promotion
  trap lrps_stop USR1
  lrps_rendezvous
  lrps_command "$@"
  [[ $does != train ]] || lrps_health
  events=$LRPS_SAVE/paths/$LRPS_PATH/events.jsonl
  lines=$(wc -l 2>/dev/null <"$events" || echo 0)
  lrps_say "job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}: $does $LRPS_PATH on $SLURM_JOB_NODELIST, ${SLURM_NTASKS:-1} tasks"
  rm -f "$logs/failure-$SLURM_JOB_ID-"*
  export LRPS_FAILURE=$logs/failure-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
  lrps_step
  if ((code == 0)); then
    rm -f "$file"
    exit 0
  fi
  last=$(lrps_recorded "$lines")
  recorded=${last##*'"exit_code": '}
  recorded=${recorded%%[^0-9]*}
  if [[ $does == train ]] && lrps_worth_asking "${recorded:-$code}" && lrps_trained "$lines"; then
    failed=$(lrps_failed)
    lrps_say "done, so what follows may start; afterwards ${failed:+${failed#* }, and }the ranks ended with exit code $code"
    rm -f "$file"
    exit 0
  fi
  # Rank 0 was at the end, but another rank failed before the end was on disk.
  [[ $recorded != 0 ]] || recorded=75
  failed=$(lrps_failed)
  if [[ -z $recorded && $failed =~ ^[1-9][0-9]*' ' ]]; then
    lrps_say "the first to fail was ${failed#* }"
    recorded=${failed%% *}
  fi
  code=${recorded:-$code}
  # 137 and 143: the step was killed from outside, or a rank by ft_launcher, so none could record anything. 134: NCCL's
  # watchdog ended a rank that waited for a GPU or a link that had failed.
  case $code in
    75 | 134 | 137 | 143)
      if [[ $last == *'"reason": "request"'* ]]; then
        lrps_say "stopped by lrps stop, so it is not requeued; lrps submit goes on"
        exit "$code"
      fi
      if [[ $last == *'"event": "stopped", "message": '* ]]; then
        lrps_say "to be continued: requeued, until the earlier start of this job has ended" # which makes progress
      else
        lrps_count
      fi
      lrps_requeue
      ;;
  esac
  exit "$code"
}
