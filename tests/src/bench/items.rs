//! What is measured, and what it should be as a ratio to native.

/// One line of the table.
pub(super) struct Item {
    /// Its name; that of an operation is the one that `tests/bench/main.c` knows.
    pub(super) name: &'static str,
    /// How a sample is taken.
    pub(super) what: What,
    /// What it should be at most.
    pub(super) target: Option<Target>,
    /// A sample takes many seconds.
    pub(super) slow: bool,
}

/// A figure to reach.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// At most this many times native.
    Ratio(f64),
    /// At most this, in the item's own unit.
    Value(f64),
}

/// How a sample is taken.
pub(super) enum What {
    /// An operation of the C program; nanoseconds. Counts in the geometric mean if it is one of the common 31.
    Operation { common: bool },
    /// A program, run so many times inside; milliseconds of the best.
    Program(usize, &'static [&'static str]),
    /// A command of redis-benchmark against a server in the same sandbox; microseconds for each request.
    Redis(&'static str),
    /// The whole command `do /bin/true`; milliseconds.
    DoTrue,
    /// The whole command `run` on a bundle with busybox; milliseconds.
    RunBundle,
    /// The whole command `docker run --rm` of `/bin/true`; milliseconds.
    DockerRun,
    /// Processor time of all processes of an idle sandbox; per cent of one CPU over ten seconds.
    IdleCpu,
    /// Proportional set size of all processes of a detached container with a shell that waits for words; MB.
    IdlePss,
    /// The same of `do` with a program that sleeps, the waiting command line included; MB.
    IdleDo,
}

impl What {
    /// Unit of the samples.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            What::Operation { .. } => "ns",
            What::Program(..) | What::DoTrue | What::RunBundle | What::DockerRun => "ms",
            What::Redis(_) => "µs",
            What::IdleCpu => "% CPU",
            What::IdlePss | What::IdleDo => "MB",
        }
    }
}

const fn op(name: &'static str, most: f64) -> Item {
    Item { name, what: What::Operation { common: true }, target: Some(Target::Ratio(most)), slow: false }
}

/// Without a target of its own.
const fn free(name: &'static str) -> Item {
    Item { name, what: What::Operation { common: true }, target: None, slow: false }
}

const fn more(name: &'static str, target: Option<Target>) -> Item {
    Item { name, what: What::Operation { common: false }, target, slow: false }
}

const fn program(name: &'static str, times: usize, words: &'static [&'static str], target: Option<Target>) -> Item {
    Item { name, what: What::Program(times, words), target, slow: true }
}

const fn whole(name: &'static str, what: What, most: f64, slow: bool) -> Item {
    Item { name, what, target: Some(Target::Value(most)), slow }
}

const LOOP: &str = "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done";
const COMPILE: &str = "cd $(mktemp -d) && for i in 1 2 3 4; do \
    printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\n#include <unistd.h>\\n\
    int f%d(char *s){return printf(\"%%s\",s)+(int)strlen(s);}\\n' $i > $i.c && gcc -O1 -c $i.c || exit 1; done; \
    printf 'int f1(char *);int main(void){return f1(\"\");}' > m.c && gcc -o m m.c 1.o && ./m";

/// Throughput at least 0.8 of native, so 1.25 times the time.
const REDIS: Target = Target::Ratio(1.25);

/// Everything measured, in the order of the table.
pub(super) const ITEMS: &[Item] = &[
    op("getpid", 0.2),
    op("getppid", 1.0),
    op("clock_gettime", 1.05),
    op("sched_yield", 1.0),
    op("sigprocmask", 0.2),
    op("read_zero_1b", 1.0),
    op("write_null_1b", 1.0),
    op("pread_file_4k", 1.2),
    free("pread_file_64k"),
    op("pwrite_file_4k", 1.2),
    op("lseek", 1.0),
    op("fstat", 1.0),
    op("stat_path", 1.0),
    op("stat_enoent", 1.0),
    op("open_close", 1.0),
    free("create_unlink"),
    op("mmap_munmap", 1.5),
    op("anon_touch_16m", 1.05),
    free("eventfd_rw_pair"),
    free("pipe_rw_self"),
    free("epoll_wait_ready"),
    op("pipe_pingpong_thr", 1.2),
    op("futex_pingpong", 1.2),
    op("futex_wake_none", 1.2),
    op("signal_self", 1.0),
    op("pthread_create_join", 1.5),
    op("fork_exit_wait", 1.5),
    op("vfork_exec_wait", 2.0),
    op("tcp_lo_pingpong", 1.2),
    free("tcp_lo_send_64k"),
    op("unix_pingpong", 1.2),
    more("preadv_4x1k", Some(Target::Ratio(1.2))),
    more("pwritev_4x1k", Some(Target::Ratio(1.2))),
    more("sendmsg_recvmsg", None),
    more("getdents_100", None),
    more("file_fault_4m", None),
    more("threads_64", None),
    more("processes_64", None),
    more("busy_threads", Some(Target::Ratio(1.05))),
    more("busy_threads_calls", Some(Target::Ratio(1.05))),
    program("shell loop of 200 forks", 3, &["/bin/sh", "-c", LOOP], Some(Target::Ratio(1.6))),
    program("python3 -c pass", 8, &["/usr/bin/python3", "-c", "pass"], None),
    program("compile five files", 2, &["/bin/sh", "-c", COMPILE], None),
    Item { name: "redis SET", what: What::Redis("set"), target: Some(REDIS), slow: true },
    Item { name: "redis GET", what: What::Redis("get"), target: Some(REDIS), slow: true },
    whole("do /bin/true", What::DoTrue, 10.0, false),
    whole("run of a busybox bundle", What::RunBundle, 10.0, false),
    Item { name: "docker run --rm", what: What::DockerRun, target: None, slow: false },
    whole("idle CPU", What::IdleCpu, 0.1, true),
    whole("idle PSS", What::IdlePss, 4.0, true),
    Item { name: "idle PSS of do", what: What::IdleDo, target: None, slow: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_the_common_operations_are_31() {
        let names: std::collections::BTreeSet<_> = ITEMS.iter().map(|i| i.name).collect();
        assert_eq!(names.len(), ITEMS.len());
        assert_eq!(ITEMS.iter().filter(|i| matches!(i.what, What::Operation { common: true })).count(), 31);
    }
}
