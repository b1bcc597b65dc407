// Credentials and capabilities.
#include "case.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#define FAMILY "creds"

static void ids(void) {
    uid_t r, e, s;
    gid_t a, b, c;
    getresuid(&r, &e, &s);
    getresgid(&a, &b, &c);
    say("uid %d %d %d fs %d gid %d %d %d fs %d\n", r, e, s, setfsuid(-1), a, b, c, setfsgid(-1));
}

struct caps {
    uint64_t eff, perm, inh;
};
static struct caps get_caps(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    if (syscall(SYS_capget, &h, d)) give_up("capget", errno);
    return (struct caps){d[0].effective | (uint64_t)d[1].effective << 32,
                         d[0].permitted | (uint64_t)d[1].permitted << 32,
                         d[0].inheritable | (uint64_t)d[1].inheritable << 32};
}
static int set_caps(uint64_t eff, uint64_t perm, uint64_t inh) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{eff, perm, inh}, {eff >> 32, perm >> 32, inh >> 32}};
    return syscall(SYS_capset, &h, d);
}
// Only the three that every environment gives root.
#define BITS ((1ull << CAP_CHOWN) | (1ull << CAP_SETUID) | (1ull << CAP_KILL))
static void caps(const char *label) {
    struct caps c = get_caps();
    say("%s: eff %lx perm %lx inh %lx\n", label, (long)(c.eff & BITS), (long)(c.perm & BITS), (long)(c.inh & BITS));
}

CASE(setuid_as_root, "setuid setgid getresuid getresgid") {
    IN_CHILD(R(setgid(200)); R(setuid(100)); ids(); caps("after"); R(setuid(0)); R(setgid(0)));
    IN_CHILD(R(setuid(-1)); R(setgid(-1)); ids());
}

CASE_USER(setuid_as_user, "setuid setgid setreuid setregid setresuid setresgid") {
    R(setuid(1000));
    R(setuid(0));
    R(setgid(0));
    R(setreuid(-1, 0));
    R(setregid(-1, 0));
    R(setresuid(1000, 1000, 1000));
    R(setresuid(0, -1, -1));
    R(setresgid(-1, -1, 0));
    ids();
}

CASE(setreuid_rules, "setreuid setregid") {
    IN_CHILD(R(setreuid(10, 20)); ids(); R(setreuid(20, 10)); ids(); R(setreuid(30, -1)); R(setreuid(-1, 20)); ids());
    IN_CHILD(R(setregid(10, 20)); ids(); R(setreuid(5, 5)); R(setregid(20, 10)); ids(); R(setregid(30, -1)));
    IN_CHILD(R(setreuid(-1, 7)); ids(); R(setreuid(-1, 0)); ids());
}

CASE(setresuid_rules, "setresuid setresgid") {
    IN_CHILD(R(setresuid(1, 2, 3)); ids(); R(setresuid(3, 1, 2)); ids(); R(setresuid(-1, 4, -1)); R(setresuid(2, 2, 2));
             ids(); R(setresuid(3, -1, -1)));
    IN_CHILD(R(setresgid(1, 2, 3)); ids(); R(setresuid(9, 9, 9)); R(setresgid(3, 1, 2)); ids(); R(setresgid(4, -1, -1)));
}

CASE(capabilities_follow_uid, "setresuid capget") {
    IN_CHILD(R(setresuid(-1, 1000, -1)); caps("euid 1000"); R(setresuid(-1, 0, -1)); caps("euid 0"));
    IN_CHILD(R(setresuid(1000, 1000, -1)); caps("saved 0"); R(setresuid(-1, 0, -1)); caps("euid 0"));
    IN_CHILD(R(setresuid(1000, 1000, 1000)); caps("all 1000"));
}

CASE(keepcaps, "prctl setresuid") {
    IN_CHILD({
        R(prctl(PR_SET_KEEPCAPS, 1));
        R(setresuid(1000, 1000, 1000));
        caps("kept");
        R(set_caps(1ull << CAP_KILL, 1ull << CAP_KILL, 0));
        caps("raised");
        R(prctl(PR_GET_KEEPCAPS));
    });
    R(prctl(PR_SET_KEEPCAPS, 2));
}

CASE(setfsuid_rules, "setfsuid setfsgid") {
    MUST(chmod(".", 0777));
    R(setfsuid(1000));
    R(setfsuid(-1));
    caps("fsuid 1000");
    make("f", 0600);
    show_stat("f");
    R(setfsuid(0));
    R(setfsgid(77));
    make("g", 0600);
    show_stat("g");
    IN_CHILD(drop_to(1000, 1000); R(setfsuid(5)); R(setfsuid(-1)));
}

CASE(groups, "getgroups setgroups") {
    gid_t g[4] = {30, 10, 20, 10}, o[8];
    R(setgroups(4, g));
    R(getgroups(0, 0));
    R(getgroups(8, o));
    say("%d %d %d %d\n", o[0], o[1], o[2], o[3]);
    R(getgroups(3, o));
    R(getgroups(-1, o));
    R(getgroups(8, BAD));
    R(setgroups(70000, g));
    R(setgroups(4, BAD));
    IN_CHILD(setresuid(1000, 1000, 1000); R(setgroups(1, g)));
    R(setgroups(0, 0));
    R(getgroups(8, o));
}

CASE(group_membership_gives_access, "setgroups open") {
    make("f", 0040);
    MUST(chown("f", 0, 555));
    IN_CHILD({
        gid_t g = 555;
        MUST(setgroups(1, &g));
        MUST(setresgid(1000, 1000, 1000));
        MUST(setresuid(1000, 1000, 1000));
        OK(open("f", O_RDONLY));
        OK(open("f", O_WRONLY));
    });
    IN_CHILD(drop_to(1000, 1000); OK(open("f", O_RDONLY)));
}

CASE(capset_rules, "capset capget") {
    IN_CHILD({
        R(set_caps(BITS, BITS, 0));
        caps("reduced");
        R(set_caps(0, BITS, 0));
        caps("effective off");
        R(set_caps(BITS, BITS, BITS));
        caps("inheritable");
        R(set_caps(1ull << CAP_CHOWN, 0, 0));
        R(set_caps(0, 1ull << CAP_CHOWN, 0));
        R(set_caps(0, BITS, 0));
        caps("end");
    });
}

CASE(capget_versions, "capget capset") {
    struct __user_cap_header_struct h = {0, 0};
    struct __user_cap_data_struct d[2];
    R(syscall(SYS_capget, &h, d));
    say("%x\n", h.version);
    h.version = 7;
    R(syscall(SYS_capget, &h, 0));
    say("%x\n", h.version);
    h = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, 99999};
    R(syscall(SYS_capget, &h, d));
    h.pid = -1;
    R(syscall(SYS_capget, &h, d));
    h.pid = 1;
    R(syscall(SYS_capset, &h, d));
    R(syscall(SYS_capget, BAD, d));
    h.pid = 0;
    R(syscall(SYS_capget, &h, BAD));
    h.version = _LINUX_CAPABILITY_VERSION_1;
    R(syscall(SYS_capget, &h, d));
}

CASE(bounding_set, "prctl") {
    R(prctl(PR_CAPBSET_READ, CAP_CHOWN));
    R(prctl(PR_CAPBSET_READ, 63));
    R(prctl(PR_CAPBSET_READ, 64));
    IN_CHILD({
        R(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
        R(prctl(PR_CAPBSET_READ, CAP_CHOWN));
        caps("still held");
        char *a[] = {"sh", "-c", "chown 5 x; stat -c %u x", 0};
        put("x", "");
        execv("/bin/sh", a);
    });
    IN_CHILD(drop_to(1000, 1000); R(prctl(PR_CAPBSET_DROP, CAP_CHOWN)));
    R(prctl(PR_CAPBSET_DROP, 64));
}

CASE(ambient_set, "prctl execve") {
    IN_CHILD({
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
        R(set_caps(BITS, BITS, 1ull << CAP_KILL));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 99, 0, 0));
    });
}

HELPER(caps) {
    caps("after exec");
    return 0;
}

CASE(exec_transforms_capabilities, "execve capget") {
    IN_CHILD(execl(program("cases"), "x", "helper", "caps", NULL));
    IN_CHILD(set_caps(0, 0, 0); execl(program("cases"), "x", "helper", "caps", NULL));
    IN_CHILD(drop_to(1000, 1000); execl(program("cases"), "x", "helper", "caps", NULL));
    IN_CHILD({
        prctl(PR_SET_KEEPCAPS, 1);
        drop_to(1000, 1000);
        set_caps(BITS, BITS, 1ull << CAP_KILL);
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0);
        execl(program("cases"), "x", "helper", "caps", NULL);
    });
}

CASE(no_new_privs, "prctl") {
    R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    R(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    IN_CHILD(R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
}

CASE(securebits, "prctl") {
    R(prctl(PR_GET_SECUREBITS));
    IN_CHILD({
        R(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
        R(setresuid(-1, 1000, -1));
        caps("no fixup");
    });
    IN_CHILD({
        R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
        R(prctl(PR_SET_SECUREBITS, 0));
        R(prctl(PR_GET_SECUREBITS));
        execl(program("cases"), "x", "helper", "caps", NULL);
    });
    IN_CHILD({
        R(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
        R(prctl(PR_GET_KEEPCAPS));
        R(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED));
        R(prctl(PR_SET_KEEPCAPS, 1));
    });
    R(prctl(PR_SET_SECUREBITS, 0x10000));
    IN_CHILD(drop_to(1000, 1000); R(prctl(PR_SET_SECUREBITS, 1)));
}

CASE(dumpable, "prctl") {
    R(prctl(PR_GET_DUMPABLE));
    R(prctl(PR_SET_DUMPABLE, 0));
    R(prctl(PR_GET_DUMPABLE));
    R(prctl(PR_SET_DUMPABLE, 2));
    R(prctl(PR_SET_DUMPABLE, 1));
    R(setresuid(-1, 1000, -1));
    R(prctl(PR_GET_DUMPABLE));
}

CASE(id_calls_bad_pointers, "getresuid getresgid getuid geteuid getgid getegid") {
    uid_t a, b;
    R(syscall(SYS_getresuid, &a, &b, BAD));
    R(syscall(SYS_getresgid, BAD, &a, &b));
    say("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
}

CASE_USER(root_only_calls_as_user, "syslog pivot_root chroot mount umount2 sethostname setdomainname settimeofday reboot swapon swapoff mknod") {
    R(chroot("."));
    R(syscall(SYS_mount, "none", ".", "tmpfs", 0, 0));
    R(syscall(SYS_umount2, "/tmp", 0));
    R(sethostname("x", 1));
    R(setdomainname("x", 1));
    struct timeval tv = {1, 1};
    R(settimeofday(&tv, 0));
    R(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
    R(syscall(SYS_swapon, "/x", 0));
    R(syscall(SYS_swapon, "/x", 0x80000));
    R(syscall(SYS_swapoff, "/x"));
    R(syscall(SYS_pivot_root, ".", "."));
    R(syscall(SYS_syslog, 99, 0, 0));
    R(syscall(SYS_syslog, 2, 0, -1));
    R(mknod("d", S_IFBLK | 0600, 0x700));
    R(mknod("c", S_IFCHR | 0600, 0x103));
    R(mknod("p", S_IFIFO | 0600, 0));
}
