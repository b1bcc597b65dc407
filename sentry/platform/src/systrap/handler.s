# Signals that meet the stub's own code: edi = signal, rdx = ucontext, rbx = context, rbp = control page, r8 = where it was,
# r9 = the same from the start of the stub. rsp = frame.

# A trapped call of those that a thread begins with, which few programs make often enough for their sites to be patched. Each
# eighth goes to the sentry, which then sees those that are. All signals are blocked, so nothing comes between.
26:
cmp dword ptr [rsi + {INFO_CODE}], 1
jne 28b
cmp dword ptr [rsi + {INFO_ARCH}], {AUDIT_ARCH}
jne 28b
mov eax, [rsi + {INFO_NUMBER}]
cmp eax, {ANSWERS_MOST}
ja 28b
lea rcx, [rip + systrap_stub_answers]
movzx ecx, byte ptr [rcx + rax]
mov rax, [rbx + {ANSWERS}]
bt rax, rcx
jnc 28b
mov rax, [rdx + {UC_RDI}]
mov r8, [rdx + {UC_RDI} + 8]
cmp ecx, {ANSWER_ARCH}
je 27f
cmp ecx, {ANSWER_ROBUST}
jb 28b
cmp ecx, {ANSWER_TID_ADDRESS}
ja 28b
inc dword ptr [rbx + {TRAPS}]
test dword ptr [rbx + {TRAPS}], 7
jz 28b
cmp ecx, {ANSWER_ROBUST}
jne 29f
cmp r8, {ROBUST_LEN}
jne 28b
mov [rbx + {ROBUST_LIST}], rax
xor eax, eax
jmp 48f
29:
mov [rbx + {CLEAR_TID}], rax
mov eax, [rbx + {TID}]
jmp 48f
# ARCH_SET_FS
27:
inc dword ptr [rbx + {TRAPS}]
test dword ptr [rbx + {TRAPS}], 7
jz 28b
cmp eax, 0x1002
jne 28b
movabs rax, {TASK_END}
cmp r8, rax
jae 28b
wrfsbase r8
xor eax, eax
48:
mov [rdx + {UC_RAX}], rax
inc qword ptr [rbx + {ANSWERED}]
jmp 32f

# A signal in here: an interrupt of a patched call, an access of guest memory that has failed, the trap that was asked
# for, or an attack.
30:
cmp edi, {INTERRUPT}
je 33f
lea rax, [rip + systrap_stub_trapped]
cmp r8, rax
je 36f
lea rcx, [rip + systrap_stub_repairs]
35:
mov eax, [rcx]
test eax, eax
jz 37f
add rcx, 8
cmp eax, r9d
jne 35b
mov ecx, [rcx - 4]
movabs rax, {STUB}
add rcx, rax
jmp 31f
37:
cmp edi, {SIGTRAP}
jne 99b
# The guest steps itself: a call is one step.
and dword ptr [rdx + {UC_EFLAGS}], ~0x100
jmp 32f
31:
mov [rdx + {UC_RIP}], rcx
32:
add rsp, 8
mov eax, {SYS_rt_sigreturn}
syscall
jmp 99b
# A signal in a function of the vDSO that the stub has called. Where that asks the host, the call has trapped.
112:
cmp edi, {INTERRUPT}
jne 113f
mov dword ptr [rbx + {PENDING}], 1
jmp 32b
113:
cmp edi, {SIGSYS}
jne 99b
mov qword ptr [rdx + {UC_RAX}], -{ENOSYS}
jmp 32b
33:
mov dword ptr [rbx + {PENDING}], 1
lea rcx, [rip + systrap_stub_return]
cmp r8, rcx
jb 32b
lea rax, [rip + systrap_stub_return_end]
cmp r8, rax
jb 31b
# In an answer: see answers.s.
lea rcx, [rip + systrap_stub_resumed]
cmp r8, rcx
jb 38f
lea rax, [rip + systrap_stub_resumed_end]
cmp r8, rax
jb 34f
lea rax, [rip + systrap_stub_sleep_begin]
cmp r8, rax
jb 32b
lea rcx, [rip + systrap_stub_sleepless]
lea rax, [rip + systrap_stub_slept]
cmp r8, rax
jae 32b
jmp 34f
38:
lea rcx, [rip + systrap_stub_serve]
lea rax, [rip + systrap_stub_answer]
cmp r8, rax
jb 32b
lea rax, [rip + systrap_stub_changed]
cmp r8, rax
jb 34f
lea rcx, [rip + systrap_stub_stopped]
lea rax, [rip + systrap_stub_answered_end]
cmp r8, rax
jae 32b
34:
mov [rdx + {UC_RBX}], rbx
jmp 31b
36:
mov eax, [rbp + {C_FRAME}]
add rax, rbx
cmp rax, rsp
jne 99b
jmp 21b
