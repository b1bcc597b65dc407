// Terminals: pseudo terminals, line discipline, job control.
#include "case.h"
#include <pty.h>
#include <termios.h>
#define FAMILY "tty"

static void open_pair(int *m, int *s) {
    *m = MUST(posix_openpt(O_RDWR | O_NOCTTY));
    MUST(grantpt(*m) | unlockpt(*m));
    char *name = ptsname(*m);
    *s = MUST(open(name, O_RDWR | O_NOCTTY));
}
static void show_read(const char *label, int fd) {
    char b[256];
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 200) != 1 || !(p.revents & POLLIN)) {
        say("%s: nothing\n", label);
        return;
    }
    ssize_t n = read(fd, b, sizeof b);
    if (n < 0) say("%s: %s\n", label, err_name(errno));
    else show_bytes(label, b, n);
}
static void type(int m, const char *text) {
    if (write(m, text, strlen(text)) != (ssize_t)strlen(text)) give_up("write to master", errno);
}
static void change(int fd, unsigned clear_l, unsigned set_l, unsigned clear_i, unsigned clear_o) {
    struct termios t;
    MUST(tcgetattr(fd, &t));
    t.c_lflag = (t.c_lflag & ~clear_l) | set_l;
    t.c_iflag &= ~clear_i;
    t.c_oflag &= ~clear_o;
    MUST(tcsetattr(fd, TCSANOW, &t));
}

CASE(pty_defaults, "ioctl openat") {
    int m, s;
    open_pair(&m, &s);
    struct termios t;
    R(tcgetattr(s, &t));
    say("i %x o %x c %x l %x\n", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
    say("cc");
    for (int i = 0; i < 17; i++) say(" %d", t.c_cc[i]);
    say("\n");
    T(isatty(s) && isatty(m));
    T(!strncmp(ptsname(m), "/dev/pts/", 9));
    struct winsize w = {0};
    R(ioctl(s, TIOCGWINSZ, &w));
    say("%d %d\n", w.ws_row, w.ws_col);
    w = (struct winsize){40, 100, 0, 0};
    R(ioctl(m, TIOCSWINSZ, &w));
    w = (struct winsize){0};
    R(ioctl(s, TIOCGWINSZ, &w));
    say("%d %d\n", w.ws_row, w.ws_col);
    R(ioctl(1, TCGETS, &t));
    R(ioctl(s, TCGETS, BAD));
}

CASE(pty_locked_slave, "openat ioctl") {
    int m = posix_openpt(O_RDWR | O_NOCTTY);
    R(open(ptsname(m), O_RDWR | O_NOCTTY));
    int l = 9;
    R(ioctl(m, TIOCGPTLCK, &l));
    R(l);
    R(unlockpt(m));
    OK(open(ptsname(m), O_RDWR | O_NOCTTY));
    OK(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
}

CASE(pty_canonical_input, "read write ioctl") {
    int m, s;
    open_pair(&m, &s);
    type(m, "hello");
    show_read("before newline", s);
    show_read("echo", m);
    type(m, " world\n");
    show_read("line", s);
    show_read("echo", m);
    type(m, "wrx\177ong\025right\n");
    show_read("edited", s);
    show_read("echo", m);
    type(m, "two words\027one\n");
    show_read("word erase", s);
    type(m, "one\ntwo\n");
    show_read("first line", s);
    show_read("second line", s);
    type(m, "part\004");
    show_read("until eof", s);
    type(m, "\004");
    show_read("eof", s);
    type(m, "a\026\003b\n");
    show_read("literal next", s);
    int n = -1;
    type(m, "count\n");
    T(UNTIL((ioctl(s, FIONREAD, &n), n == 6)));
    R(tcflush(s, TCIFLUSH));
    show_read("flushed", s);
}

CASE(pty_output_processing, "write ioctl") {
    int m, s;
    open_pair(&m, &s);
    R(write(s, "a\nb\tc\r\n", 7));
    show_read("cooked", m);
    change(s, 0, 0, 0, OPOST);
    R(write(s, "a\nb\n", 4));
    show_read("raw", m);
}

CASE(pty_raw_mode, "ioctl read") {
    int m, s;
    open_pair(&m, &s);
    struct termios t;
    tcgetattr(s, &t);
    cfmakeraw(&t);
    R(tcsetattr(s, TCSANOW, &t));
    type(m, "ab\003\004\r");
    show_read("raw", s);
    show_read("echo", m);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
    tcsetattr(s, TCSANOW, &t);
    char b[8];
    R(read(s, b, 8));
    t.c_cc[VTIME] = 1;
    tcsetattr(s, TCSANOW, &t);
    long a = now_ms();
    R(read(s, b, 8));
    T(now_ms() - a >= 80);
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 0;
    tcsetattr(s, TCSANOW, &t);
    type(m, "xy");
    pid_t c = FORK(msleep(10); type(m, "z"));
    R(read(s, b, 8));
    show_wait(c);
}

CASE(pty_input_mapping, "ioctl read") {
    int m, s;
    open_pair(&m, &s);
    change(s, ECHO, 0, 0, 0);
    type(m, "cr\r");
    show_read("icrnl", s);
    change(s, 0, 0, ICRNL, 0);
    type(m, "cr\rnl\n");
    show_read("no icrnl", s);
    show_read("echo off", m);
    change(s, 0, ECHO | ECHOCTL, 0, 0);
    type(m, "\001\n");
    show_read("echoctl", m);
}

CASE(pty_hangup, "close read write poll") {
    int m, s;
    open_pair(&m, &s);
    close(s);
    char b;
    R(read(m, &b, 1));
    struct pollfd p = {m, POLLIN, 0};
    R(poll(&p, 1, 0));
    say("%x\n", p.revents);
    open_pair(&m, &s);
    close(m);
    R(read(s, &b, 1));
    R(write(s, "x", 1));
    struct termios t;
    R(tcgetattr(s, &t));
}

static volatile sig_atomic_t last, times;
static void note(int sig) {
    last = sig;
    times++;
}

CASE(controlling_terminal, "setsid ioctl openat") {
    int m, s;
    open_pair(&m, &s);
    IN_CHILD({
        setsid();
        R(open("/dev/tty", O_RDWR));
        R(tcgetpgrp(s));
        R(ioctl(s, TIOCSCTTY, 0));
        T(tcgetpgrp(s) == getpid() && tcgetsid(s) == getpid());
        OK(open("/dev/tty", O_RDWR));
        R(ioctl(s, TIOCNOTTY));
        R(open("/dev/tty", O_RDWR));
    });
    IN_CHILD({
        setsid();
        OK(open(ptsname(m), O_RDWR));
        OK(open("/dev/tty", O_RDWR));
        IN_CHILD(R(ioctl(s, TIOCSCTTY, 0)); setsid(); R(ioctl(s, TIOCSCTTY, 0)));
    });
}

CASE(terminal_signals, "ioctl kill") {
    int m, s;
    open_pair(&m, &s);
    pid_t c = FORK({
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        int sigs[] = {SIGINT, SIGQUIT, SIGWINCH};
        for (int i = 0; i < 3; i++) on_signal(sigs[i], note, 0);
        type(m, "\003");
        T(UNTIL(last == SIGINT));
        type(m, "\034");
        T(UNTIL(last == SIGQUIT));
        struct winsize w = {10, 20, 0, 0};
        ioctl(m, TIOCSWINSZ, &w);
        T(UNTIL(last == SIGWINCH));
        times = 0;
        ioctl(m, TIOCSWINSZ, &w);
        msleep(5);
        say("same size %d\n", times);
        show_read("echo", m);
        type(m, "lost\003kept\n");
        show_read("after interrupt", s);
    });
    show_wait(c);
}

CASE(background_access_stops, "read write ioctl setpgid") {
    int m, s;
    open_pair(&m, &s);
    pid_t leader = FORK({
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        int st;
        char b;
        pid_t c = FORK(setpgid(0, 0); read(s, &b, 1));
        setpgid(c, c);
        waitpid(c, &st, WUNTRACED);
        show_status("background read", st);
        kill(c, SIGKILL);
        waitpid(c, &st, 0);
        c = FORK(setpgid(0, 0); write(s, "allowed", 7));
        setpgid(c, c);
        waitpid(c, &st, WUNTRACED);
        show_status("background write", st);
        show_read("written", m);
        change(s, 0, TOSTOP, 0, 0);
        c = FORK(setpgid(0, 0); write(s, "x", 1));
        setpgid(c, c);
        waitpid(c, &st, WUNTRACED);
        show_status("background write with tostop", st);
        kill(c, SIGKILL);
        waitpid(c, &st, 0);
        c = FORK(setpgid(0, 0); signal(SIGTTIN, SIG_IGN); R(read(s, &b, 1)); signal(SIGTTOU, SIG_IGN); R(write(s, "x", 1)));
        setpgid(c, c);
        show_wait(c);
        c = FORK(setpgid(0, 0); tcsetpgrp(s, getpid()));
        setpgid(c, c);
        waitpid(c, &st, WUNTRACED);
        show_status("background tcsetpgrp", st);
        kill(c, SIGKILL);
        waitpid(c, &st, 0);
        c = FORK(setpgid(0, 0); UNTIL(tcgetpgrp(s) == getpid()); type(m, "\032"); pause());
        setpgid(c, c);
        R(tcsetpgrp(s, c));
        waitpid(c, &st, WUNTRACED);
        show_status("ctrl-z", st);
        signal(SIGTTOU, SIG_IGN);
        R(tcsetpgrp(s, getpgrp()));
        R(tcsetpgrp(s, 99999));
        kill(c, SIGKILL);
        waitpid(c, &st, 0);
    });
    show_wait(leader);
}

CASE(hangup_of_session, "exit_group close") {
    int m, s, p[2];
    open_pair(&m, &s);
    MUST(pipe(p));
    pid_t leader = FORK({
        close(m);
        setsid();
        ioctl(s, TIOCSCTTY, 0);
        on_signal(SIGHUP, note, 0);
        write(p[1], "r", 1);
        T(UNTIL(last == SIGHUP));
        char c;
        R(read(s, &c, 1));
    });
    char b;
    read(p[0], &b, 1);
    close(s);
    close(m);
    show_wait(leader);
}

CASE(tty_misc_ioctls, "ioctl") {
    int m, s, n = -1;
    open_pair(&m, &s);
    R(ioctl(m, TIOCOUTQ, &n));
    R(ioctl(m, TIOCGPTN, &n));
    T(n >= 0);
    R(tcdrain(s));
    R(tcflow(s, TCOON));
    R(tcsendbreak(s, 0));
    R(ioctl(s, TIOCGETD, &n));
    R(n);
    R(ioctl(s, TIOCEXCL));
    R(ioctl(s, TIOCNXCL));
    R(ioctl(s, TIOCPKT, &n));
    R(ioctl(s, 0x9999, 0));
    n = 1;
    R(ioctl(m, TIOCPKT, &n));
    write(s, "data", 4);
    show_read("packet", m);
    R(lseek(s, 0, SEEK_SET));
}
