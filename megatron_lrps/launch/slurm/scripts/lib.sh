# shellcheck shell=bash
# What the .sbatch files share: they read this file, then call lrps_train or lrps_promote. README.md lists the variables.

lrps_say() { echo "lrps: $*"; }

lrps_refuse() {
  lrps_say "$*" >&2
  exit 78
}

# This cluster's settings. Scripts of others' need not be written for `set -u`, and may end with a test.
lrps_site() {
  local lrps_file=${LRPS_SITE:-$LRPS_SLURM_DIR/site.sh}
  if [[ ! -r $lrps_file ]] || ! bash -n "$lrps_file"; then
    lrps_refuse "LRPS_SITE: $lrps_file is no script that can be read on $(hostname). Fix: put a whole one on a shared disk."
  fi
  set +u
  # shellcheck source=slurm/site.sh
  . "$lrps_file"
  set -u
}

# The newest checkpoint that Megatron has finished: both metadata files are written last.
lrps_newest() {
  local folder newest=none
  for folder in "$LRPS_SAVE/paths/$LRPS_PATH/checkpoints"/iter_*; do
    [[ -s $folder/.metadata && -s $folder/metadata.json ]] && newest=${folder##*/iter_}
  done
  echo "$newest"
}

# What shows that a requeued job gets on: the newest checkpoint, or what a promotion has recorded.
lrps_progress() {
  if [[ $does == promote ]]; then
    cat "$LRPS_SAVE/eval/$LRPS_PATH"/*.json 2>/dev/null | cksum | cut -d' ' -f1
  else
    lrps_newest
  fi
}

# Defaults, and what must be given.
lrps_settings() {
  local name
  for name in LRPS_PLAN LRPS_SAVE LRPS_PATH; do
    [[ -n ${!name:-} ]] || lrps_refuse "$name is not set. Fix: slurm/README.md says what it holds."
  done
  [[ -r $LRPS_PLAN ]] || lrps_refuse "LRPS_PLAN: $LRPS_PLAN cannot be read on $(hostname). Fix: put it on a shared disk."
  LRPS_DEVICE=${LRPS_DEVICE:-gpu}
  LRPS_EXIT_SIGNAL=${LRPS_EXIT_SIGNAL:-SIGUSR2}
  [[ $does == promote || $LRPS_EXIT_SIGNAL =~ ^(SIG)?USR[12]$ ]] ||
    lrps_refuse "LRPS_EXIT_SIGNAL: $LRPS_EXIT_SIGNAL, but srun passes USR1 and USR2 on to the ranks, and ends them at once" \
      "for others. Fix: give one of these, the plan's megatron.exit-signal."
  LRPS_MAX_REQUEUES=${LRPS_MAX_REQUEUES:-3}
  LRPS_HEALTH_SECONDS=${LRPS_HEALTH_SECONDS:-120}
  [[ -n ${LRPS_CONTAINER:-} ]] || LRPS_PYTHON=${LRPS_PYTHON:-${LRPS_HOST_PYTHON:-}}
  LRPS_PYTHON=${LRPS_PYTHON:-python3}
  logs=$LRPS_SAVE/paths/$LRPS_PATH/logs
  mkdir -p "$logs" || exit 74
}

# Whether this node can train: "fit", or why not, in one line. LRPS_HEALTH_CHECK is a command of the site's own.
lrps_healthy() {
  local found wanted=${SLURM_GPUS_ON_NODE:-0} folder
  for folder in "$LRPS_SAVE" "${LRPS_PLAN%/*}"; do
    [[ -d $folder ]] || { echo "$folder is not there"; return; }
  done
  [[ -w $LRPS_SAVE ]] || { echo "$LRPS_SAVE is not writable"; return; }
  if [[ $LRPS_DEVICE == gpu && $wanted -gt 0 ]]; then
    found=$(nvidia-smi --list-gpus | grep -c '^GPU ')
    ((found >= wanted)) || { echo "$found of $wanted GPUs answer nvidia-smi"; return; }
  fi
  if [[ -n $LRPS_HEALTH_CHECK ]] && ! found=$(timeout --kill-after=10 300 bash -c "$LRPS_HEALTH_CHECK" 2>&1); then
    echo "LRPS_HEALTH_CHECK failed: ${found##*$'\n'}"
    return
  fi
  echo fit
}

# One node's report, a line with a mark of its own: a login banner is none.
lrps_check() {
  local why
  # What hangs in a dead disk or driver cannot even be killed: it is not waited for.
  exec 3< <(exec </dev/null 2>/dev/null && lrps_healthy)
  IFS= read -r -t "$1" -u 3 why || why="gave no answer in $1 s"
  [[ $why == fit ]] || echo "lrps-unfit $SLURMD_NODENAME $why"
}

# Check all nodes at once. Where some are not fit, the job goes on without them: requeued, with these excluded.
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
    ((code == 0)) || lrps_say "the health check could not run on all nodes; training tries"
    return
  fi
  while read -r line; do lrps_say "unfit node: $line" >&2; done <<<"$report"
  bad=$(cut -d' ' -f1 <<<"$report" | sort -u | paste -sd, -)
  count=$(tr ',' '\n' <<<"$bad" | wc -l)
  if ((count == SLURM_NNODES && count > 1)); then
    lrps_refuse "no node of this job is fit: $bad. Fix: it is the same everywhere, so not a node's fault; see above."
  fi
  code=75
  lrps_count
  lrps_requeue "$bad"
}

# torch.distributed's rendezvous. A port from the job's id: two jobs that share a node do not meet.
lrps_rendezvous() {
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
  export MASTER_ADDR MASTER_PORT
  export CUDA_DEVICE_MAX_CONNECTIONS=${CUDA_DEVICE_MAX_CONNECTIONS:-1}
  export PYTHONUNBUFFERED=1
  # srun does not take it from sbatch by itself since Slurm 22.05.
  [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  if [[ $LRPS_DEVICE == cpu ]]; then
    export TORCH_COMPILE_DISABLE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
  fi
}

# The command of one task, in the array `command`; and srun's options, in `options`. Arguments are Megatron's, or
# `lrps promote`'s.
lrps_command() {
  # `exec`, so that signals reach Python and not a shell. The variables are each task's own.
  # shellcheck disable=SC2016
  local task='export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID; exec "$@"'
  options=(--kill-on-bad-exit=1 --wait=0 --label) # Python flushes each line, srun passes on whole ones
  if [[ $does == promote ]]; then
    options+=(--nodes=1 --ntasks=1)
    command=("$LRPS_PYTHON" -m megatron_lrps.cli promote "$LRPS_PLAN" "$LRPS_PATH")
  else
    command=("$LRPS_PYTHON" -m megatron_lrps.pretrain --lrps-plan "$LRPS_PLAN" --lrps-path "$LRPS_PATH")
    [[ -z ${LRPS_UNTIL:-} ]] || command+=(--lrps-until "$LRPS_UNTIL")
    [[ $LRPS_DEVICE != cpu ]] || command+=(--lrps-cpu)
  fi
  command+=("$@")
  lrps_contained
  command=(bash -c "$task" task "${command[@]}")
}

# Let a container run what `command` holds, if there is one.
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

# Whether to ask after a step that ended with $1. Ranks that have stopped know that they were not at their end; and once they
# were asked to stop, the time limit may be near: a job that is requeued anyway finds out when it starts again.
lrps_worth_asking() {
  [[ $1 != 75 ]] && [[ -z $asked || ! $1 =~ ^(134|137|143)$ ]]
}

# Whether LRPS_PATH is trained to where this job was to bring it, whatever its ranks have ended with: the judgement of
# `lrps run` and `lrps status`. $1: how many lines its history had before they started.
lrps_trained() {
  local options=() command=("$LRPS_PYTHON" -m megatron_lrps.launch.slurm.leg_trained "$LRPS_PLAN" "$LRPS_PATH" "${LRPS_UNTIL:-0}" "$1")
  lrps_contained
  timeout --kill-after=10 120 srun --nodes=1 --ntasks=1 "${options[@]}" "${command[@]}"
}

# USR1, before the time limit: the ranks are to save and stop.
lrps_stop() {
  asked=1 signalled=1
  lrps_say "asked to save and stop: the ranks get $LRPS_EXIT_SIGNAL"
  [[ -z $step ]] || kill -s "$LRPS_EXIT_SIGNAL" "$step"
}

# Wait for the step that runs as process $1; its exit code, in `code`.
lrps_wait() {
  local signalled
  step=$1
  [[ -z $asked ]] || lrps_stop # asked between its start and now
  while
    signalled=
    wait "$step"
    code=$?
    [[ -n $signalled ]] # then it is `wait` that ended, not the step
  do :; done
  step=
}

# Run the ranks as one step; its exit code, in `code`.
lrps_step() {
  code=75
  [[ -z $asked ]] || return # before there was anything to save
  srun "${options[@]}" "${command[@]}" &
  lrps_wait $!
  trap '' USR1
  # Until Megatron listens to it, the signal ends a rank: nothing is lost that was saved.
  [[ -z $asked || $code != $((128 + $(kill -l "$LRPS_EXIT_SIGNAL"))) ]] || code=75
}

# What rank 0 recorded of its end since line $1 of the history, a line of JSON: srun's code is the highest of all
# tasks', and hides a refusal behind the ranks that were killed for it.
lrps_recorded() {
  tail -n "+$(($1 + 1))" "$events" 2>/dev/null | grep '"exit_code": [0-9]' | tail -n 1
}

# What the first rank that failed has left, "CODE rank N: why": rank 0 is not always the one, and is killed for it.
lrps_failed() {
  local left
  for left in "$LRPS_FAILURE"*; do # not by its name: a disk's client may remember that it was not there
    [[ ! -s $left ]] || head -n 1 "$left"
    rm -f "$left"
  done
}

# Count the requeues in a row without progress; leave where there were LRPS_MAX_REQUEUES.
lrps_count() {
  local count=0 before='' newest what fix
  newest=$(lrps_progress)
  what="checkpoint $newest without a new one" fix="a longer time limit, or a shorter save-interval"
  [[ $does != promote ]] || what="record $newest without a new one" fix="a longer time limit"
  [[ ! -r $file ]] || read -r count before <"$file" || true
  [[ $count =~ ^[0-9]+$ && $before == "$newest" ]] || count=0
  if ((count >= LRPS_MAX_REQUEUES)); then
    lrps_say "requeued $count times since $what: not again. Fix: see above why; $fix." >&2
    rm -f "$file"
    exit "$code"
  fi
  echo "$((count + 1)) $newest" >"$file" || exit 74
  lrps_say "to be continued: requeued, $((count + 1)) of $LRPS_MAX_REQUEUES since ${what% without*}"
}

# $1: nodes to leave out from now on, or nothing.
lrps_requeue() {
  local state tries=0 excluded
  until state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T); do
    ((tries++ < 10)) || exit "$code" # minutes, in which a controller restarts
    sleep 15
  done
  [[ $state == RUNNING ]] || exit "$code" # a job that is being cancelled must stay so
  if [[ -n ${1:-} ]]; then
    excluded=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%x)
    trap '' TERM # which a requeue sends: Slurm changes this of waiting jobs alone, so it is to be outlived
    scontrol requeue "$SLURM_JOB_ID" || exit "$code"
    scontrol update JobId="$SLURM_JOB_ID" ExcNodeList="${excluded:+$excluded,}$1" ||
      lrps_say "Slurm did not exclude $1; it may come again" >&2
    exit "$code"
  fi
  scontrol requeue "$SLURM_JOB_ID" || exit "$code"
  sleep 60 # Slurm ends this shell
  exit "$code"
}

# Train LRPS_PATH, up to LRPS_UNTIL if that is set; further arguments are Megatron's. Leaves with the ranks' exit code.
lrps_train() { lrps_job train "$@"; }

# Promote LRPS_PATH: verify, export, check, score, release; further arguments are `lrps promote`'s.
lrps_promote() {
  LRPS_EXIT_SIGNAL=SIGTERM # nothing is lost that a step has finished
  lrps_job promote "$@"
}

lrps_job() {
  local does=$1 logs file events lines options command code last recorded failed step='' asked=''
  shift
  lrps_settings
  file=$logs/requeues
  [[ $does != promote ]] || file+=-of-promotion
  trap lrps_stop USR1
  lrps_rendezvous
  lrps_command "$@"
  [[ $does == promote ]] || lrps_health
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
  # Rank 0 was where it was to stop, and then a rank failed before the end was on disk.
  [[ $recorded != 0 ]] || recorded=75
  failed=$(lrps_failed)
  if [[ -z $recorded && $failed =~ ^[1-9][0-9]*' ' ]]; then
    lrps_say "the first to fail was ${failed#* }"
    recorded=${failed%% *}
  fi
  code=${recorded:-$code}
  # 137 and 143: the step was killed from outside, and nobody could record anything. 134: NCCL's watchdog ended a rank that
  # waited for a GPU or a link that had failed.
  case $code in
    75 | 134 | 137 | 143)
      if [[ $last == *'"event": "stopped", "message": '* ]]; then
        lrps_say "to be continued: requeued, until this job's earlier start has ended" # it makes the progress
      else
        lrps_count
      fi
      lrps_requeue
      ;;
  esac
  exit "$code"
}
