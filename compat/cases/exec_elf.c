// Malformed ELF files: each gets Linux's answer, or Linux's signal.
#include "case.h"
#include <elf.h>
#define FAMILY "exec"

// A minimal static program: exit(42).
struct tiny {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[3];
    unsigned char code[64];
};

static void fill(struct tiny *t) {
    static const unsigned char code[] = {0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05};
    memset(t, 0, sizeof *t);
    memcpy(t->eh.e_ident, ELFMAG, 4);
    t->eh.e_ident[EI_CLASS] = ELFCLASS64;
    t->eh.e_ident[EI_DATA] = ELFDATA2LSB;
    t->eh.e_ident[EI_VERSION] = EV_CURRENT;
    t->eh.e_type = ET_EXEC;
    t->eh.e_machine = EM_X86_64;
    t->eh.e_version = EV_CURRENT;
    t->eh.e_entry = 0x400000 + offsetof(struct tiny, code);
    t->eh.e_phoff = offsetof(struct tiny, ph);
    t->eh.e_ehsize = sizeof t->eh;
    t->eh.e_phentsize = sizeof(Elf64_Phdr);
    t->eh.e_phnum = 1;
    t->ph[0] = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, 0, 0x400000, 0x400000, sizeof *t, sizeof *t, 4096};
    memcpy(t->code, code, sizeof code);
}

static void try(const char *label, const void *bytes, size_t len) {
    int fd = MUST(open("elf", O_CREAT | O_TRUNC | O_WRONLY, 0755));
    MUST(write(fd, bytes, len));
    close(fd);
    pid_t p = FORK(execl("./elf", "elf", NULL); say("%s: %s\n", label, err_name(errno)));
    int status = 0;
    waitpid(p, &status, 0);
    show_status(label, status);
}

#define TRY(label, ...) do { struct tiny t; fill(&t); __VA_ARGS__; try(label, &t, sizeof t); } while (0)

CASE(elf_minimal, "execve") { TRY("as it is", (void)0); }

CASE(elf_truncated, "execve") {
    struct tiny t;
    fill(&t);
    size_t at[] = {4, 16, 63, 64, 100, 120};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        char label[32];
        snprintf(label, sizeof label, "first %zu bytes", at[i]);
        try(label, &t, at[i]);
    }
}

CASE(elf_bad_header, "execve") {
    TRY("magic", t.eh.e_ident[1] = 'X');
    TRY("class 32", t.eh.e_ident[EI_CLASS] = ELFCLASS32);
    TRY("big endian", t.eh.e_ident[EI_DATA] = ELFDATA2MSB);
    TRY("machine", t.eh.e_machine = EM_AARCH64);
    TRY("relocatable", t.eh.e_type = ET_REL);
    TRY("core", t.eh.e_type = ET_CORE);
    TRY("phentsize", t.eh.e_phentsize = 55);
    TRY("no headers", t.eh.e_phnum = 0);
    TRY("many headers", t.eh.e_phnum = 0xffff);
    TRY("headers beyond end", t.eh.e_phoff = 1 << 20);
    TRY("huge offset", t.eh.e_phoff = ~0ul - 10);
    TRY("version", t.eh.e_version = 9);
}

CASE(elf_bad_segments, "execve") {
    TRY("no load", t.ph[0].p_type = PT_NULL);
    TRY("filesz above memsz", t.ph[0].p_memsz = 10);
    TRY("memsz huge", t.ph[0].p_memsz = 1ul << 48);
    TRY("address in kernel", t.ph[0].p_vaddr = 0xffff800000000000);
    TRY("address wraps", t.ph[0].p_vaddr = ~0ul - 4095);
    TRY("unaligned offset", t.ph[0].p_offset = 1);
    TRY("offset beyond end", t.ph[0].p_offset = 1 << 20);
    TRY("not executable", t.ph[0].p_flags = PF_R);
    TRY("no rights", t.ph[0].p_flags = 0);
    TRY("entry outside", t.eh.e_entry = 0x12345678);
    TRY("odd alignment", t.ph[0].p_align = 3);
}

CASE(elf_bss, "execve") {
    TRY("bss after file", t.ph[0].p_memsz += 3 * PAGE; t.ph[0].p_flags |= PF_W);
    TRY("bss read-only", t.ph[0].p_memsz += 3 * PAGE);
    TRY("only bss", t.eh.e_phnum = 2; t.ph[1] = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, 0, 0x500000, 0, 0, PAGE, 4096});
}

CASE(elf_bad_interpreter, "execve") {
#define INTERP(path) t.eh.e_phnum = 2; t.ph[1] = t.ph[0]; strcpy((char *)t.code + 16, path); \
    t.ph[0] = (Elf64_Phdr){PT_INTERP, PF_R, offsetof(struct tiny, code) + 16, 0, 0, strlen(path) + 1, 0, 1}
    put("text", "just text");
    MUST(chmod("text", 0755));
    put("noexec", "just text");
    TRY("missing", INTERP("/no/such/interp"));
    TRY("a directory", INTERP("/tmp"));
    TRY("text", INTERP("./text"));
    TRY("not executable", INTERP("./noexec"));
    TRY("empty", INTERP(""));
    TRY("no NUL", INTERP("./text"); t.ph[0].p_filesz--);
    TRY("too long", INTERP("x"); t.ph[0].p_filesz = 5000);
    TRY("beyond end", INTERP("x"); t.ph[0].p_offset = 1 << 20);
    TRY("size zero", INTERP("x"); t.ph[0].p_filesz = 0);
}

CASE(elf_position_independent_without_interpreter, "execve") {
    TRY("dyn", t.eh.e_type = ET_DYN; t.eh.e_entry -= 0x400000; t.ph[0].p_vaddr = 0);
    TRY("dyn at address", t.eh.e_type = ET_DYN);
}

CASE(elf_garbage_bytes, "execve") {
    unsigned seed = 12345;
    for (int i = 0; i < 12; i++) {
        struct tiny t;
        fill(&t);
        unsigned char *b = (unsigned char *)&t.ph;
        for (int k = 0; k < 6; k++) {
            seed = seed * 1103515245 + 12345;
            b[8 + (seed >> 16) % 40] = seed >> 8;
        }
        char label[16];
        snprintf(label, sizeof label, "garbage %d", i);
        try(label, &t, sizeof t);
    }
}

CASE(elf_file_of_size, "execve") {
    try("empty", "", 0);
    try("one byte", "\177", 1);
    try("text", "hello\n", 6);
    try("binary zeros", "\0\0\0\0\0\0\0\0", 8);
}
