# Accesses of guest memory, and where to go on when they have failed. An answer that needs guest memory is put before the
# sentry, which finds the same fault.
.balign 8
systrap_stub_repairs:
.macro repair at, to
.long systrap_stub_\at - systrap_stub_start, systrap_stub_\to - systrap_stub_start
.endm
repair input, no_input
repair reply, reply_failed
repair copy, copied
repair exchange, refused
repair write, refused
repair store_byte, refused
repair frame_header, no_frame
repair frame_state, no_frame
repair frame_notes, no_frame
repair frame_mark, no_frame
repair frame, no_frame
repair set, serve
repair old_set, serve
repair word, serve
repair fs, serve
repair stack_sp, serve
repair stack_flags, serve
repair stack_size, serve
repair old_sp, serve
repair old_flags, serve
repair old_size, serve
repair time_seconds, serve
repair time_rest, serve
repair day_seconds, serve
repair day_rest, serve
repair time, serve
repair cpu, serve
repair node, serve
repair context, serve
repair state_magic, serve
repair state_features, serve
repair state_size, serve
repair state_mark, serve
repair state, serve
.purgem repair
.quad 0
