#!/usr/bin/env bash
# A real SLURM cluster of four virtual nodes on one Debian machine, for tests.
#
#   slurm_cluster.sh up                    install what is missing, start what is not running
#   slurm_cluster.sh down                  cancel all jobs, stop; the state stays for the next up
#   slurm_cluster.sh destroy               down, and remove the state
#   slurm_cluster.sh status                what runs; fails unless everything does
#   slurm_cluster.sh env                   the line that makes a shell use this cluster
#   slurm_cluster.sh cancel-all            and wait until no job is left, also of those that ignore TERM
#   slurm_cluster.sh kill-node NODE        as a machine's crash: all its processes vanish at once
#   slurm_cluster.sh start-node NODE       start it (again) and wait until the controller knows
#   slurm_cluster.sh restart-controller
#   slurm_cluster.sh set-max-array-size N  until the next start of a stopped cluster
#
#   SLURM_STATE           its folder, all it writes (${TMPDIR:-/tmp}/slurm-cluster)
#   SLURM_PORT            the first of 15 ports (16817); with SLURM_STATE, two clusters side by side
#   SLURM_MAX_ARRAY_SIZE  one more than the largest index of an array (1001)
#
# It needs root, asked of sudo, but neither systemd nor cgroups.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${SLURM_STATE:-${TMPDIR:-/tmp}/slurm-cluster}
PORT=${SLURM_PORT:-16817}
ACCOUNTING_PORT=$((PORT + 2))
DATABASE_PORT=$((PORT + 3))
MAX_ARRAY_SIZE=${SLURM_MAX_ARRAY_SIZE:-1001}
NODES=(node1 node2 node3 node4)
PACKAGES=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server-core mariadb-client-core procps)

ETC=$STATE/etc RUN=$STATE/run LOG=$STATE/log
export SLURM_CONF=$ETC/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

die() {
  printf 'slurm_cluster: %s\n' "$*" >&2
  exit 1
}

wait_for() { # wait_for SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# --- processes

pid_of() { # pid_of DAEMON, slurmd.NODE for a node; a stale file may name a stranger, so ask /proc
  local pid
  pid=$(tr -dc 0-9 2> /dev/null < "$RUN/$1.pid") && [ -n "$pid" ] || return 1
  [[ $(readlink "/proc/$pid/exe") == */"${1%%.*}"* ]] && echo "$pid"
}

gone() { # gone PID...: an exited process counts also where nobody reaps it
  local pid
  for pid in "$@"; do
    grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" && return 1
  done
  return 0
}

stop() { # stop DAEMON...
  local name pid pids=()
  for name in "$@"; do
    if pid=$(pid_of "$name"); then pids+=("$pid"); fi
  done
  if ((${#pids[@]})); then
    kill -TERM "${pids[@]}" 2> /dev/null || true
    wait_for 15 gone "${pids[@]}" || kill -KILL "${pids[@]}" 2> /dev/null || true
  fi
  for name in "$@"; do rm -f "$RUN/$name.pid"; done
}

step_pids() { # step_pids [NODE]: slurmstepds, known by the log that they share with their slurmd
  local pid log="$LOG/slurmd.${1:-*}.log" file
  for pid in $(pgrep -x slurmstepd); do
    for file in "/proc/$pid/fd/"*; do
      # shellcheck disable=SC2053
      if [[ $(readlink "$file") == $log ]]; then
        echo "$pid"
        break
      fi
    done
  done
}

with_descendants() { # with_descendants PID...
  ps -eo pid=,ppid= | awk -v roots="$*" '
    { parent[$1] = $2 }
    END {
      split(roots, list, " "); for (i in list) ours[list[i]] = 1
      do { more = 0; for (pid in parent)
        if (parent[pid] in ours && !(pid in ours)) { ours[pid] = 1; more = 1 }
      } while (more)
      for (pid in ours) print pid
    }'
}

job_pids() { # job_pids [NODE]: the steps, what they started, and orphans known by their environment
  with_descendants "$(step_pids "$@" | xargs)"
  { grep -lzxF -- "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ || true; } 2> /dev/null |
    { xargs -r grep -lzx -- "SLURMD_NODENAME=${1:-.*}" || true; } 2> /dev/null | tr -dc '0-9\n'
}

kill_at_once() { # kill_at_once PID...: frozen first, so that none lives to report another's death
  (($#)) || return 0
  kill -STOP "$@" 2> /dev/null || true
  kill -KILL "$@" 2> /dev/null || true
}

# --- installation and configuration

install_packages() {
  local package missing=() log=$LOG/apt.log policy=/usr/sbin/policy-rc.d
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  echo "Installing ${missing[*]}"
  # the packages' own services are to stay down
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin "$policy"
  fi
  apt-get update &> "$log" || true
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" &>> "$log" ||
    die "apt-get failed: $(tail -n 5 "$log")"
}

filled_in() { # filled_in TEMPLATE
  sed -e "s|@STATE@|$STATE|g" -e "s|@HOST@|$(hostname -s)|g" -e "s|@CONTROLLER_PORT@|$PORT|g" \
    -e "s|@ACCOUNTING_PORT@|$ACCOUNTING_PORT|g" -e "s|@DATABASE_PORT@|$DATABASE_PORT|g" \
    -e "s|@NODE_PORTS@|$((PORT + 11))-$((PORT + 14))|g" \
    -e "s|@MAX_ARRAY_SIZE@|$MAX_ARRAY_SIZE|g" "$HERE/$1.in"
}

configure() {
  local gpu
  filled_in slurm.conf > "$SLURM_CONF"
  # slurmdbd looks for its file beside $SLURM_CONF, and wants it private
  (umask 077 && filled_in slurmdbd.conf > "$ETC/slurmdbd.conf")
  echo 'CgroupAutomount=no' > "$ETC/cgroup.conf"
  # slurmd only looks whether a GPU is there: twins of /dev/null are, plain files are with a complaint
  for gpu in "$STATE/dev/gpu0" "$STATE/dev/gpu1"; do
    [ -e "$gpu" ] || mknod "$gpu" c 1 3 2> /dev/null || touch "$gpu"
  done
  echo "NodeName=node[1-4] Name=gpu File=$STATE/dev/gpu[0-1]" > "$ETC/gres.conf"
}

# --- daemons

start_munge() {
  pid_of munged > /dev/null && return
  [ -s "$ETC/munge.key" ] || (umask 077 && head -c 128 /dev/urandom > "$ETC/munge.key")
  munged --force --key-file="$ETC/munge.key" --socket="$RUN/munge.sock" \
    --pid-file="$RUN/munged.pid" --log-file="$LOG/munged.log" --seed-file="$STATE/munge.seed" 2>> "$LOG/munged.out"
  wait_for 10 munge -S "$RUN/munge.sock" -n || die "munged does not answer, see $LOG/munged.log"
}

database_answers() {
  mariadb --no-defaults -h127.0.0.1 -P"$DATABASE_PORT" -uslurm -pslurm -e 'select 1' slurm_acct_db
}

start_database() {
  pid_of mariadbd > /dev/null && return
  [ -d "$STATE/database/mysql" ] ||
    mariadb-install-db --no-defaults --user=root --datadir="$STATE/database" --skip-test-db \
      --auth-root-authentication-method=normal &> "$LOG/mariadb-install.log" || die "mariadb-install-db failed"
  cat > "$ETC/first.sql" << 'SQL'
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
SQL
  setsid mariadbd --no-defaults --user=root --datadir="$STATE/database" --socket="$RUN/mariadb.sock" \
    --pid-file="$RUN/mariadbd.pid" --bind-address=127.0.0.1 --port="$DATABASE_PORT" --skip-name-resolve \
    --innodb-buffer-pool-size=128M --innodb-log-file-size=64M --innodb-flush-log-at-trx-commit=0 \
    --innodb-lock-wait-timeout=900 --skip-log-bin --init-file="$ETC/first.sql" \
    < /dev/null &> "$LOG/mariadbd.log" &
  wait_for 60 database_answers || die "mariadbd does not answer, see $LOG/mariadbd.log"
}

start_accounting() {
  pid_of slurmdbd > /dev/null && return
  slurmdbd &>> "$LOG/slurmdbd.out" || die "slurmdbd failed: $(tail -n 3 "$LOG/slurmdbd.out")"
  wait_for 60 sacctmgr -n show cluster || die "slurmdbd does not answer, see $LOG/slurmdbd.log"
}

known() { # known NAME ENTITY [CONDITION...]
  local names
  names=$(sacctmgr -nP show "${@:2}" | cut -d'|' -f1) && grep -qx "$1" <<< "$names"
}

account() { # account COMMAND...
  sacctmgr -i "$@" >> "$LOG/sacctmgr.log" 2>&1 || die "sacctmgr $* failed: $(tail -n 3 "$LOG/sacctmgr.log")"
}

open_accounts() { # the cluster, the qos debug, and the account team with whoever asked for this
  local user
  known pytest cluster || account add cluster pytest
  known debug qos format=name || account add qos debug priority=100
  known team account || account add account team description=team organization=test qos=normal,debug
  for user in root ${SUDO_USER:-}; do
    known "$user" assoc user="$user" account=team format=user ||
      account add user "$user" account=team defaultaccount=team qos=normal,debug
  done
}

start_controller() {
  pid_of slurmctld > /dev/null && return
  slurmctld &>> "$LOG/slurmctld.out" || die "slurmctld failed: $(tail -n 3 "$LOG/slurmctld.out")"
  wait_for 30 scontrol ping || die "slurmctld does not answer, see $LOG/slurmctld.log"
}

restart_controller() { # it takes submissions at once, and hears from the nodes 5 s later
  stop slurmctld
  start_controller
}

set_max_array_size() {
  [[ $1 =~ ^[0-9]+$ ]] || die "MaxArraySize is a number, not $1"
  # scontrol reconfigure leaves it as it was
  sed -i "s/^MaxArraySize=.*/MaxArraySize=$1/" "$SLURM_CONF"
  restart_controller
}

launch_node() {
  pid_of "slurmd.$1" > /dev/null && return
  mkdir -p "$STATE/spool/$1"
  slurmd -N "$1" &>> "$LOG/slurmd.$1.out" || die "slurmd -N $1 failed: $(tail -n 3 "$LOG/slurmd.$1.log")"
}

registered_since() { # registered_since TIME NODE
  local since
  since=$(scontrol show node "$2" | sed -n 's/.*SlurmdStartTime=\([^ ]*\).*/\1/p')
  [[ $since == 2* && ! $since < $1 ]]
}

start_node() {
  local now
  pid_of "slurmd.$1" > /dev/null && return
  now=$(date +%FT%T)
  launch_node "$1"
  wait_for 30 registered_since "$now" "$1" || die "$1 does not register, see $LOG/slurmd.$1.log"
}

kill_node() {
  # shellcheck disable=SC2046
  kill_at_once $(pid_of "slurmd.$1") $(job_pids "$1")
  rm -f "$RUN/slurmd.$1.pid"
}

nodes_serve() {
  local states
  states=$(sinfo -hN -o %T) || return 1
  ! grep -qvxE 'idle|mixed|allocated|completing' <<< "$states"
}

# --- commands

up() {
  local node began=$SECONDS
  mkdir -p "$STATE"
  # a folder that somebody else made in /tmp beforehand is no place for root's files
  [ -O "$STATE" ] || die "$STATE belongs to somebody else"
  mkdir -p "$ETC" "$RUN" "$LOG" "$STATE"/{controller,spool,dev}
  chmod 755 "$STATE" "$ETC" "$RUN" "$LOG"
  install_packages
  pid_of slurmctld > /dev/null || configure
  start_munge
  start_database
  start_accounting
  open_accounts
  start_controller
  for node in "${NODES[@]}"; do launch_node "$node"; done
  wait_for 30 nodes_serve || die "not all nodes serve: $(sinfo -N 2>&1)"
  echo "SLURM is up after $((SECONDS - began)) s. To use it:"
  echo "  export SLURM_CONF=$SLURM_CONF"
}

no_jobs() {
  local jobs
  jobs=$(squeue -h) && [ -z "$jobs" ]
}

end_jobs() { # again and again, since what was being requeued meanwhile comes back
  local pid
  squeue -h -o %F | sort -u | xargs -r scancel || true
  # by hand, since slurmd leaves who ignores TERM another KillWait, and scancel -s KILL too
  for pid in $(job_pids); do
    [ "$(cat "/proc/$pid/comm")" = slurmstepd ] || kill -KILL "$pid" || true
  done
  no_jobs
}

cancel_all() {
  scancel --state=PENDING
  wait_for 180 end_jobs || die "jobs stay: $(squeue 2>&1)"
}

down() {
  [ -d "$RUN" ] || return 0
  if pid_of slurmctld > /dev/null; then (cancel_all) || true; fi
  stop slurmctld "${NODES[@]/#/slurmd.}"
  stop slurmdbd
  stop mariadbd
  stop munged
  # shellcheck disable=SC2046
  kill_at_once $(job_pids)
  echo "SLURM is down; its state stays in $STATE."
}

status() {
  local name failed=0
  for name in munged mariadbd slurmdbd slurmctld "${NODES[@]/#/slurmd.}"; do
    if pid_of "$name" > /dev/null; then echo "$name runs"; else
      echo "$name does not run"
      failed=1
    fi
  done
  ((failed)) || timeout 10 sinfo -N -o '%N %P %T %c %m %G'
  return $failed
}

as_root() { # as_root COMMAND...: this script again, through sudo unless this is root
  ((EUID == 0)) && return
  exec sudo --preserve-env=TMPDIR,SLURM_STATE,SLURM_PORT,SLURM_MAX_ARRAY_SIZE \
    "$HERE/slurm_cluster.sh" "$@"
}

case ${1:-} in
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  up | down | status | cancel-all | restart-controller)
    as_root "$@"
    "${1//-/_}"
    ;;
  destroy)
    as_root "$@"
    down
    rm -rf "$STATE"
    ;;
  kill-node | start-node | set-max-array-size)
    as_root "$@"
    "${1//-/_}" "${2:?"what $1 is to act on"}"
    ;;
  *)
    sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
esac
