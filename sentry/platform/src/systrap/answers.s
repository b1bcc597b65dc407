# Patched calls: how they come in, and those that are answered right here (super::answers).
#
# What is destroyed on the way is saved first. So a call whose answer is under way can be put before the sentry at any
# time, as if it had not begun (from systrap_stub_answer on); and one that has been answered can be completed on the
# sentry's side (from systrap_stub_changed on). An interrupt leads there: see the handler.

# Which answer a call wants, by its number.
systrap_stub_answers:
.fill 14, 1, 0
.byte 16 # rt_sigprocmask
.byte 22 # rt_sigreturn
.fill 8, 1, 0
.byte 17 # sched_yield
.fill 3, 1, 0
.byte 31 # madvise
.fill 10, 1, 0
.byte 1 # getpid
.fill 56, 1, 0
.byte 28 # gettimeofday
.fill 5, 1, 0
.byte 4 # getuid
.fill 1, 1, 0
.byte 6 # getgid
.fill 2, 1, 0
.byte 5 # geteuid
.byte 7 # getegid
.fill 1, 1, 0
.byte 3 # getppid
.byte 8 # getpgrp
.fill 9, 1, 0
.byte 18 # getpgid
.fill 2, 1, 0
.byte 19 # getsid
.fill 6, 1, 0
.byte 25 # sigaltstack
.fill 26, 1, 0
.byte 20 # arch_prctl
.fill 27, 1, 0
.byte 2 # gettid
.fill 14, 1, 0
.byte 29 # time
.byte 21 # futex
.fill 15, 1, 0
.byte 24 # set_tid_address
.fill 9, 1, 0
.byte 26 # clock_gettime
.byte 27 # clock_getres
.fill 43, 1, 0
.byte 23 # set_robust_list
.fill 35, 1, 0
.byte 30 # getcpu
.fill 14, 1, 0
.byte 32 # membarrier

# rax = number, rcx = where it returns to, gs = context. Only r11 is free.
.balign 64
.globl systrap_stub_call
.hidden systrap_stub_call
systrap_stub_call:
mov gs:[{REG_RBX}], rbx
mov rbx, gs:[{SELF}]
mov [rbx + {REG_RSP}], rsp
lea rsp, [rbx + {REG_EFLAGS} + 8]
pushfq
lea rsp, [rbx + {THUNK_STACK_END}]
mov [rbx + {NUMBER}], rax
mov [rbx + {REG_RIP}], rcx
systrap_stub_answer:
cmp dword ptr [rbx + {PENDING}], 0
jne systrap_stub_serve
cmp rax, {ANSWERS_MOST}
ja systrap_stub_serve
lea rcx, [rip + systrap_stub_answers]
movzx ecx, byte ptr [rcx + rax]
mov r11, [rbx + {ANSWERS}]
bt r11, rcx
jnc systrap_stub_serve
cmp ecx, {PROCMASK}
jae 2f
# A number that the sentry has written.
1:
mov eax, [rbx + rcx * 4 + {IDENTITY}]
3:
mov [rbx + {REG_RAX}], rax
inc qword ptr [rbx + {ANSWERED}]
jmp systrap_stub_answered
2:
cmp ecx, {PROCMASK}
je 5f
cmp ecx, {YIELD}
je 4f
cmp ecx, {GETSID}
ja 7f
# getpgid and getsid, of the caller.
test edi, edi
jnz systrap_stub_serve
sub ecx, {GETPGID} - {PGID}
jmp 1b
# sched_yield.
4:
mov eax, {SYS_sched_yield}
syscall
jmp 3b
7:
cmp ecx, {ANSWER_FUTEX}
je 16f
ja 19f
# arch_prctl: ARCH_SET_FS, ARCH_GET_FS.
cmp edi, 0x1002
jne 8f
movabs rax, {TASK_END}
cmp rsi, rax
jae systrap_stub_serve
wrfsbase rsi
xor eax, eax
jmp 3b
8:
cmp edi, 0x1003
jne systrap_stub_serve
rdfsbase rax
systrap_stub_fs:
mov [rsi], rax
xor eax, eax
jmp 3b
19:
cmp ecx, {ANSWER_ROBUST}
jb systrap_stub_sigreturn
cmp ecx, {ANSWER_TID_ADDRESS}
je 25f
ja 70f
# set_robust_list
cmp rsi, {ROBUST_LEN}
jne systrap_stub_serve
mov [rbx + {ROBUST_LIST}], rdi
xor eax, eax
jmp 3b
# set_tid_address
25:
mov [rbx + {CLEAR_TID}], rdi
mov eax, [rbx + {TID}]
jmp 3b
# Clocks: what the vDSO says, for the clocks that all see alike. Its code may rely on flags that this here doesn't need.
100:
cmp ecx, {ANSWER_MADVISE}
jae 115f
test dword ptr [rbx + {REG_EFLAGS}], {ODD_FLAGS}
jnz systrap_stub_serve
cmp ecx, {ANSWER_GETTIMEOFDAY}
je 103f
ja 105f
cmp edi, 11
ja systrap_stub_serve
mov eax, {SHARED_CLOCKS}
bt eax, edi
jnc systrap_stub_serve
call systrap_stub_vdso
cmp dword ptr [rbx + {PENDING}], 0
jne systrap_stub_serve
test eax, eax
jnz systrap_stub_clockless
test rsi, rsi
jz 102f
systrap_stub_time_seconds:
mov [rsi], r11
systrap_stub_time_rest:
mov [rsi + 8], rcx
xor eax, eax
jmp 3b
# Without a place: fine for the resolution only.
102:
cmp dword ptr [rbx + {NUMBER}], {SYS_clock_gettime}
je systrap_stub_serve
xor eax, eax
jmp 3b
# gettimeofday: rdi = time, rsi = zone.
103:
test rsi, rsi
jnz systrap_stub_serve
call systrap_stub_vdso
cmp dword ptr [rbx + {PENDING}], 0
jne systrap_stub_serve
test eax, eax
jnz systrap_stub_clockless
xor eax, eax
test rdi, rdi
jz 3b
systrap_stub_day_seconds:
mov [rdi], r11
systrap_stub_day_rest:
mov [rdi + 8], rcx
jmp 3b
105:
cmp ecx, {ANSWER_GETCPU}
je 106f
# time: rdi = where to.
call systrap_stub_vdso
cmp dword ptr [rbx + {PENDING}], 0
jne systrap_stub_serve
cmp rax, -{ENOSYS}
je systrap_stub_clockless
test rdi, rdi
jz 3b
systrap_stub_time:
mov [rdi], rax
jmp 3b
# getcpu: rdi = CPU, rsi = node, from where the host keeps them for programs.
106:
mov ecx, 0x7b
lsl ecx, ecx
mov eax, ecx
and eax, 0xfff
shr ecx, 12
test rdi, rdi
jz 107f
systrap_stub_cpu:
mov [rdi], eax
107:
test rsi, rsi
jz 108f
systrap_stub_node:
mov [rsi], ecx
108:
xor eax, eax
jmp 3b
# The vDSO has asked the host, which the stub may not: never again.
systrap_stub_clockless:
lock and dword ptr [rbx + {ANSWERS}], ~({CLOCK_BITS})
jmp systrap_stub_serve
# madvise: rdi = address, rsi = length, edx = advice. Of plain memory, and what changes no mapping; the host does it.
115:
jne 117f
cmp edx, {ADVICE_MOST}
ja systrap_stub_serve
mov eax, {ADVICE}
bt eax, edx
jnc systrap_stub_serve
mov r11, rdi
shr r11, 12
.irp place, 0, 1, 2, 3
mov rax, [rbx + {LEADER}]
mov rcx, [rax + {PLAIN} + 8 * \place]
mov rax, rcx
shr rax, {PLAIN_BITS}
and ecx, {PLAIN_MASK}
sub rax, r11
jg 116f
# Pages of the range from the address on.
add rcx, rax
jle 116f
shl rcx, 12
cmp rsi, rcx
jbe systrap_stub_host
116:
.endr
jmp systrap_stub_serve
# membarrier: edi = command, esi = flags.
117:
cmp edi, {BARRIER}
jne systrap_stub_serve
test esi, esi
jnz systrap_stub_serve
mov rax, [rbx + {LEADER}]
test dword ptr [rax + {BARRIERS}], {BARRIER} << 1
jnz systrap_stub_host
jmp systrap_stub_serve
# sigaltstack: rdi = new, rsi = old; the new one waits below rsp. What is refused is the sentry's to refuse.
70:
cmp ecx, {ANSWER_STACK}
jne 100b
xor ecx, ecx
mov rax, [rbx + {REG_RSP}]
sub rax, [rbx + {ALTSTACK}]
jbe 72f
cmp rax, [rbx + {ALTSTACK} + 16]
ja 72f
test byte ptr [rbx + {ALTSTACK} + 11], 0x80
jnz 72f
# The guest is on it: nothing can be changed.
test rdi, rdi
jnz systrap_stub_serve
inc ecx
jmp 76f
72:
test rdi, rdi
jz 75f
systrap_stub_stack_sp:
mov rax, [rdi]
systrap_stub_stack_flags:
mov ecx, [rdi + 8]
systrap_stub_stack_size:
mov r11, [rdi + 16]
mov [rsp - 16], rcx
btr ecx, 31
cmp ecx, 2
ja systrap_stub_serve
jne 73f
xor eax, eax
xor r11d, r11d
jmp 74f
73:
cmp r11, {STACK_LEAST}
jb systrap_stub_serve
74:
mov [rsp - 24], rax
mov [rsp - 8], r11
# The old one is written before the change, so it must not be what the call would read if it began again.
mov rax, rdi
sub rax, rsi
add rax, 23
cmp rax, 46
jbe systrap_stub_serve
75:
xor ecx, ecx
cmp qword ptr [rbx + {ALTSTACK} + 16], 0
jne 76f
mov ecx, 2
76:
test rsi, rsi
jz 77f
mov eax, [rbx + {ALTSTACK} + 8]
and eax, 0x80000000
or ecx, eax
mov rax, [rbx + {ALTSTACK}]
systrap_stub_old_sp:
mov [rsi], rax
systrap_stub_old_flags:
mov [rsi + 8], rcx
mov rax, [rbx + {ALTSTACK} + 16]
systrap_stub_old_size:
mov [rsi + 16], rax
77:
xor eax, eax
test rdi, rdi
jz 3b
jmp systrap_stub_new_stack
# futex: rdi = address, esi = operation, edx = value, r10 = time, r9d = bits. Private ones only.
16:
test edi, 3
jnz systrap_stub_serve
movabs rax, {TASK_END}
cmp rdi, rax
jae systrap_stub_serve
cmp esi, {FUTEX_WAKE}
je 18f
cmp esi, {FUTEX_WAIT}
je 17f
test r9d, r9d
jz systrap_stub_serve
cmp esi, {FUTEX_WAKE_BITSET}
je 18f
cmp esi, {FUTEX_WAIT_BITSET}
je 17f
cmp esi, {FUTEX_WAIT_BITSET_REALTIME}
jne systrap_stub_serve
# A wait: is it over? One with a time may be in vain for other reasons; what is left of a span after an interrupt, only the
# sentry knows.
17:
test r10, r10
jnz 24f
systrap_stub_word:
mov eax, [rdi]
cmp eax, edx
je 23f
mov rax, -{EAGAIN}
jmp 3b
24:
cmp esi, {FUTEX_WAIT}
je systrap_stub_serve
23:
call systrap_stub_sleepers
jmp systrap_stub_sleep
# A wake-up. The guest has changed the word before; who is about to sleep is counted, then looks at the word. With a full
# barrier on both sides either we see the sleeper or it sees the change.
18:
lock or dword ptr [rbx + {NUMBER}], 0
call systrap_stub_sleepers
cmp dword ptr [rax + {SLEEPERS}], 0
jne systrap_stub_serve
cmp dword ptr [rax + {HOSTED}], 0
jne systrap_stub_host
xor eax, eax
jmp 3b
# rax = where those are counted who sleep on the word at rdi, less the place in the context.
systrap_stub_sleepers:
mov rax, rdi
mov rcx, rdi
shr rax, 2
shr rcx, 12
xor eax, ecx
and eax, {SLEEPER_CLASSES} - 1
shl eax, 2
add rax, [rbx + {LEADER}]
ret
# rt_sigreturn: rsp points to a ucontext. Not while signals are pending, and only from a frame that changes nothing else: the
# same alternate stack, all of the floating-point state. What the guest's registers hold is lost in any case, but for rsp.
systrap_stub_sigreturn:
cmp dword ptr [rbx + {SIGNALS}], 0
jne systrap_stub_serve
mov rsi, [rbx + {REG_RSP}]
movabs r11, {TASK_END}
cmp rsi, r11
jae systrap_stub_serve
lea rdi, [rbx + {INPUT}]
mov ecx, {UC_WORDS}
cld
systrap_stub_context:
rep movsq
mov rax, [rbx + {INPUT} + {UC_ALTSTACK}]
cmp rax, [rbx + {ALTSTACK}]
jne systrap_stub_serve
mov eax, [rbx + {INPUT} + {UC_ALTSTACK} + 8]
cmp eax, [rbx + {ALTSTACK} + 8]
jne systrap_stub_serve
mov rax, [rbx + {INPUT} + {UC_ALTSTACK} + 16]
cmp rax, [rbx + {ALTSTACK} + 16]
jne systrap_stub_serve
cmp [rbx + {INPUT} + {UC_REGS} + 16 * 8], r11
jae systrap_stub_serve
mov rsi, [rbx + {INPUT} + {UC_FPSTATE}]
test sil, 63
jnz systrap_stub_serve
cmp rsi, r11
jae systrap_stub_serve
movabs rbp, {CONTROL}
mov rcx, [rbp + {C_NOTES}]
systrap_stub_state_magic:
cmp [rsi + {STATE_NOTES}], rcx
jne systrap_stub_serve
mov rcx, [rbp + {C_NOTES} + 8]
systrap_stub_state_features:
cmp [rsi + {STATE_NOTES} + 8], rcx
jne systrap_stub_serve
mov ecx, [rbp + {C_NOTES} + 16]
systrap_stub_state_size:
cmp [rsi + {STATE_NOTES} + 16], ecx
jne systrap_stub_serve
systrap_stub_state_mark:
cmp dword ptr [rsi + rcx], {MAGIC2}
jne systrap_stub_serve
mov eax, [rbp + {FEATURES}]
mov edx, [rbp + {FEATURES} + 4]
systrap_stub_state:
xrstor64 [rsi]
movabs rax, {BLOCKABLE}
and rax, [rbx + {INPUT} + {UC_SIGMASK}]
inc qword ptr [rbx + {ANSWERED}]
# A full barrier, as below. Until then the call can begin again, and from there on it can only go on.
xchg [rbx + {SIGMASK}], rax
jmp systrap_stub_resumed
# rt_sigprocmask: rdi = how, rsi = set, rdx = old set, r10 = size. Not while signals are pending.
5:
cmp r10, 8
jne systrap_stub_serve
cmp dword ptr [rbx + {SIGNALS}], 0
jne systrap_stub_serve
mov r11, [rbx + {SIGMASK}]
mov rcx, r11
test rsi, rsi
jz 6f
# The old set is written before the change, so it must not be what the call would read if it began again.
mov rax, rsi
sub rax, rdx
add rax, 7
cmp rax, 14
jbe systrap_stub_serve
systrap_stub_set:
mov rcx, [rsi]
cmp edi, 1
ja 9f
je 10f
or rcx, r11
jmp 11f
10:
andn rcx, rcx, r11
jmp 11f
9:
cmp edi, 2
jne systrap_stub_serve
11:
movabs rax, {BLOCKABLE}
and rcx, rax
6:
test rdx, rdx
jz 12f
systrap_stub_old_set:
mov [rdx], r11
12:
xor eax, eax
cmp rcx, r11
je 3b
mov [rbx + {REG_RAX}], rax
inc qword ptr [rbx + {ANSWERED}]
# A full barrier: either the sender of a signal sees the new mask, or we see that there is one.
xchg [rbx + {SIGMASK}], rcx
systrap_stub_changed:
cmp dword ptr [rbx + {SIGNALS}], 0
jne systrap_stub_attend
systrap_stub_answered:
mov rcx, [rbx + {REG_EFLAGS}]
mov eax, ecx
shl eax, 8
shr ecx, 4
and ecx, 0x80
# The overflow flag, then the other five. No other flag has changed.
add cl, 0x80
sahf
mov rax, [rbx + {REG_RAX}]
mov r11, [rbx + {REG_EFLAGS}]
mov rcx, [rbx + {REG_RIP}]
mov rsp, [rbx + {REG_RSP}]
mov rbx, [rbx + {REG_RBX}]
jmp rcx
# What the host has answered. An interrupt that came before is noted; one that comes from here on leads away.
systrap_stub_hosted:
cmp dword ptr [rbx + {PENDING}], 0
je systrap_stub_answered
jmp systrap_stub_stopped
systrap_stub_answered_end:
# After rt_sigreturn: an interrupt leads back to here, since nothing is written that is read.
systrap_stub_resumed:
mov rax, [rbx + {INPUT} + {UC_REGS} + 0 * 8]
mov [rbx + {REG_R8}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 1 * 8]
mov [rbx + {REG_R9}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 2 * 8]
mov [rbx + {REG_R10}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 3 * 8]
mov [rbx + {REG_R11}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 4 * 8]
mov [rbx + {REG_R12}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 5 * 8]
mov [rbx + {REG_R13}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 6 * 8]
mov [rbx + {REG_R14}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 7 * 8]
mov [rbx + {REG_R15}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 8 * 8]
mov [rbx + {REG_RDI}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 9 * 8]
mov [rbx + {REG_RSI}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 10 * 8]
mov [rbx + {REG_RBP}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 11 * 8]
mov [rbx + {REG_RBX}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 12 * 8]
mov [rbx + {REG_RDX}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 13 * 8]
mov [rbx + {REG_RAX}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 14 * 8]
mov [rbx + {REG_RCX}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 15 * 8]
mov [rbx + {REG_RSP}], rax
mov rax, [rbx + {INPUT} + {UC_REGS} + 16 * 8]
mov [rbx + {REG_RIP}], rax
mov eax, [rbx + {INPUT} + {UC_REGS} + 17 * 8]
and eax, {USER_EFLAGS}
or eax, 0x202
mov [rbx + {REG_EFLAGS}], rax
lea rsp, [rbx + {THUNK_STACK_END}]
cmp dword ptr [rbx + {SIGNALS}], 0
je systrap_stub_return
systrap_stub_resumed_end:
mov dword ptr [rbx + {KIND}], {ATTENTION}
jmp 89f
# Calls the vDSO's function for the answer in ecx, with the clock in edi if it wants one: rax = what it returns, r11 and rcx =
# the words that it has written. An interrupt is noted, for the caller to look at.
systrap_stub_vdso:
push rdi
push rsi
push rdx
push r8
push r9
push r10
sub rsp, 40
movabs rax, {CONTROL}
mov rax, [rax + rcx * 8 + {CLOCKS} - 8 * {FIRST_CLOCK}]
cmp ecx, {ANSWER_GETTIMEOFDAY}
mov rsi, rsp
jb 109f
# gettimeofday has no clock before the place, and time wants no place.
mov rdi, rsp
mov esi, 0
je 109f
xor edi, edi
109:
test rax, rax
jz 111f
call rax
110:
mov r11, [rsp]
mov rcx, [rsp + 8]
add rsp, 40
pop r10
pop r9
pop r8
pop rdx
pop rsi
pop rdi
ret
111:
mov rax, -{ENOSYS}
jmp 110b
# The three words change at once: an interrupt is noted.
systrap_stub_new_stack:
mov rcx, [rsp - 24]
mov [rbx + {ALTSTACK}], rcx
mov rcx, [rsp - 16]
mov [rbx + {ALTSTACK} + 8], rcx
mov rcx, [rsp - 8]
mov [rbx + {ALTSTACK} + 16], rcx
jmp 22f
# A sleep in a futex of the host's. An interrupt before the host was asked leads to systrap_stub_sleepless, as does one that
# would have the host begin again; later it is noted. What was not interrupted must not begin again: it has used up a wake-up.
systrap_stub_sleep:
add rax, {HOSTED}
mov [rbx + {ASLEEP}], rax
lock inc dword ptr [rax]
mov dword ptr [rbx + {RESUMED}], 0
systrap_stub_sleep_begin:
cmp dword ptr [rbx + {PENDING}], 0
jne systrap_stub_sleepless
mov eax, {SYS_futex}
syscall
systrap_stub_slept:
mov rcx, [rbx + {ASLEEP}]
lock dec dword ptr [rcx]
mov qword ptr [rbx + {ASLEEP}], 0
cmp rax, -{EINTR}
je systrap_stub_serve
22:
mov [rbx + {REG_RAX}], rax
inc qword ptr [rbx + {ANSWERED}]
jmp systrap_stub_hosted
# A call that the host may execute as it is, and once only: a wake-up of such sleepers, advice about memory.
systrap_stub_host:
mov rax, [rbx + {NUMBER}]
syscall
jmp 22b
systrap_stub_sleepless:
mov rax, -{EINTR}
jmp systrap_stub_slept
# Answered, but an interrupt or a signal came meanwhile. Of the guest's registers those that are saved nowhere are live.
systrap_stub_attend:
mov eax, {ATTENTION}
jmp 13f
systrap_stub_stopped:
mov dword ptr [rbx + {PENDING}], 0
mov eax, {INTERRUPTED}
13:
mov rcx, [rbx + {REG_RIP}]
mov [rbx + {REG_RCX}], rcx
mov rcx, [rbx + {REG_EFLAGS}]
mov [rbx + {REG_R11}], rcx
jmp 14f
# The sentry's.
systrap_stub_serve:
prefetchw [rbx + {INPUT}]
mov rax, [rbx + {NUMBER}]
mov [rbx + {REG_RAX}], rax
mov eax, {CALL}
14:
mov [rbx + {KIND}], eax
lea rsp, [rbx + {THUNK_STACK_END}]
mov [rbx + {REG_RDI}], rdi
mov [rbx + {REG_RSI}], rsi
mov [rbx + {REG_RDX}], rdx
mov [rbx + {REG_R10}], r10
mov [rbx + {REG_R8}], r8
mov [rbx + {REG_R9}], r9
mov [rbx + {REG_RBP}], rbp
mov [rbx + {REG_R12}], r12
mov [rbx + {REG_R13}], r13
mov [rbx + {REG_R14}], r14
mov [rbx + {REG_R15}], r15
cmp eax, {CALL}
jne 89f
mov rax, [rbx + {REG_RAX}]
# What the call reads goes with it, as far as it stands in one page.
xor edx, edx
cmp rax, {INPUTS_LEN}
jae 882f
movabs rbp, {CONTROL}
movzx ecx, byte ptr [rbp + rax + {C_INPUTS}]
# A new thread or process starts with the state of its parent.
test cl, {SAVES}
jz 881f
mov eax, [rbp + {FEATURES}]
mov edx, [rbp + {FEATURES} + 4]
xsave64 [rbx + {FPSAVE}]
xor edx, edx
881:
mov edi, ecx
and edi, 7
jz 882f
mov rsi, [rbx + rdi * 8 + {REG_RDI} - 8]
cmp rsi, 0x1000
jb 882f
test cl, {MEASURED}
mov ecx, {INPUT_FIXED}
jz 880f
mov rcx, [rbx + rdi * 8 + {REG_RDI}]
cmp rcx, {INPUT_MOST}
ja 882f
880:
mov eax, esi
or eax, -4096
neg eax
cmp ecx, eax
cmova ecx, eax
mov edx, ecx
lea rdi, [rbx + {INPUT}]
cld
systrap_stub_input:
rep movsb
882:
shl edx, 16
or edx, {CALL}
mov [rbx + {KIND}], edx
