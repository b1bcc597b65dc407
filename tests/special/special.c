// One side of a conversation over a Unix socket or FIFO; the other may be on another kernel. Prints what it meets.
//
//   special serve KIND PATH     answers what one peer sends, until it ends
//   special call KIND PATH      talks to that
//   special answer PATH         answers datagrams of bound senders, with and without being connected
//   special ask PATH            is such a sender, bound to PATH.asks
//   special pester KIND PATH    asks a connected socket for all that can be asked of any
//   special held PATH           listens, and accepts only once it gets a line
//   special wait PATH           connects more often than a queue is long, the last times waiting
//   special give PATH           sends a descriptor to one peer, once asked
//   special rights PATH         sends one and asks for one
//   special read PATH FLAGS     opens a FIFO for reading and prints what comes
//   special write PATH TEXT     opens a FIFO for writing and writes
//   special fill PATH           opens a FIFO, or files in a directory, until that fails, and then something else
//   special nowriter PATH       opens a FIFO without waiting, in ways of which some fail

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	return a;
}

static int kind_of(const char *name)
{
	return !strcmp(name, "stream") ? SOCK_STREAM : !strcmp(name, "dgram") ? SOCK_DGRAM : SOCK_SEQPACKET;
}

static void say(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
	fflush(stdout);
}

static int dial(int kind, const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, kind, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		say("connect", -1);
		exit(3);
	}
	return fd;
}

static int listen_at(int kind, const char *path, int backlog)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, kind, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || (kind != SOCK_DGRAM && listen(fd, backlog) < 0)) {
		say("bind", -1);
		exit(3);
	}
	say("bound", 0);
	return fd;
}

static char buffer[1 << 20];

static int serve(const char *name, const char *path)
{
	int kind = kind_of(name), fd = listen_at(kind, path, 5);
	long got, all = 0;

	if (kind == SOCK_DGRAM) {
		for (int at = 0; at < 3; at++) {
			got = recv(fd, buffer, sizeof buffer, 0);
			printf("datagram %.*s\n", (int)got, buffer);
			fflush(stdout);
		}
		return 0;
	}
	fd = accept(fd, NULL, NULL);
	while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
		all += got;
		// What is short is answered, the rest is counted.
		if (got < 100)
			send(fd, buffer, got, MSG_NOSIGNAL);
	}
	say("received", all);
	send(fd, &all, sizeof all, MSG_NOSIGNAL);
	return 0;
}

static void show_name(const char *what, int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof a;

	if (ask(fd, (struct sockaddr *)&a, &len) < 0)
		say(what, -1);
	else
		printf("%s: %u bytes, named %d\n", what, len > 2, len > 2 && a.sun_path[0] == '/');
}

static int call_datagram(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = dial(SOCK_DGRAM, path), other = socket(AF_UNIX, SOCK_DGRAM, 0);

	say("send", send(fd, "connected", 9, 0));
	say("sendto", sendto(other, "to an address", 13, 0, (struct sockaddr *)&a, sizeof a));
	say("sendto again", sendto(other, "once more", 9, 0, (struct sockaddr *)&a, sizeof a));
	show_name("own name", fd, getsockname);
	show_name("peer's name", fd, getpeername);
	return 0;
}

static int call(const char *name, const char *path)
{
	int kind = kind_of(name), fd, set = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP };
	struct sockaddr_un a = address(path);
	struct pollfd out = { .events = POLLOUT };
	long piece = 60000, all = 0;
	int value;
	socklen_t len = sizeof value;

	if (kind == SOCK_DGRAM)
		return call_datagram(path);
	fd = dial(kind, path);
	show_name("own name", fd, getsockname);
	show_name("peer's name", fd, getpeername);
	say("send", send(fd, "hello", 5, 0));
	say("recv", recv(fd, buffer, sizeof buffer, 0));
	printf("%.5s\n", buffer);
	say("nothing there", recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
	epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
	say("epoll", epoll_wait(set, &event, 1, 0));
	say("write", write(fd, "again", 5));
	say("epoll", epoll_wait(set, &event, 1, 10000));
	say("events", event.events);
	say("peek", recv(fd, buffer, 3, MSG_PEEK));
	say("cut", recv(fd, buffer, 3, kind == SOCK_SEQPACKET ? MSG_TRUNC : 0));
	say("rest", recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
	say("connect again", connect(fd, (struct sockaddr *)&a, sizeof a));
	// More than the host's buffers hold: both sides have to wait.
	for (int at = 0; at < 50; at++)
		for (long sent = 0; sent < piece;) {
			long done = send(fd, buffer, piece - sent, 0);

			if (done <= 0) {
				say("send", done);
				return 1;
			}
			sent += done, all += done;
		}
	say("sent", all);
	out.fd = fd;
	say("poll", poll(&out, 1, 10000));
	say("shutdown", shutdown(fd, SHUT_WR));
	say("counted", recv(fd, &all, sizeof all, MSG_WAITALL));
	say("count", all);
	say("end", recv(fd, buffer, sizeof buffer, 0));
	signal(SIGPIPE, SIG_IGN);
	say("broken", send(fd, "x", 1, 0));
	say("error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) ? -1 : value);
	say("type", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) ? -1 : value);
	return 0;
}

static int pester(const char *name, const char *path)
{
	static const int levels[] = { SOL_SOCKET, 0, 6, 17, 41, 58, 255, 270, 282 };
	static const int requests[] = { 0x5401, 0x5411, 0x541b, 0x5421, 0x5452, 0x8901, 0x8902, 0x8903, 0x8904, 0x8905, 0x8906,
		0x8907, 0x8912, 0x8913, 0x8914, 0x8927, 0x8933, 0x8942, 0x89e0, 0x89f0 };
	struct sockaddr_un a = address(path);
	struct msghdr message = { .msg_name = &a, .msg_namelen = sizeof a };
	int fd = dial(kind_of(name), path);
	socklen_t len;

	signal(SIGPIPE, SIG_IGN);
	for (unsigned level = 0; level < sizeof levels / sizeof *levels; level++)
		for (int option = 0; option < 90; option++)
			for (len = 0; len <= 16; len += 4) {
				socklen_t room = len;

				memset(buffer, 1, sizeof(int));
				// Time limits would only make this slow.
				if (option != SO_RCVTIMEO && option != SO_SNDTIMEO)
					setsockopt(fd, levels[level], option, buffer, len);
				getsockopt(fd, levels[level], option, buffer, &room);
			}
	for (unsigned at = 0; at < sizeof requests / sizeof *requests; at++)
		ioctl(fd, requests[at], buffer);
	for (unsigned bit = 0; bit < 32; bit++) {
		send(fd, "x", 1, 1u << bit | MSG_DONTWAIT);
		sendto(fd, "x", 1, 1u << bit | MSG_DONTWAIT, (struct sockaddr *)&a, sizeof a);
		recv(fd, buffer, 100, 1u << bit | MSG_DONTWAIT);
		sendmsg(fd, &message, 1u << bit | MSG_DONTWAIT);
		recvmsg(fd, &message, 1u << bit | MSG_DONTWAIT);
	}
	bind(fd, (struct sockaddr *)&a, sizeof a);
	listen(fd, 1);
	accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	connect(fd, (struct sockaddr *)&a, sizeof a);
	for (int how = -1; how < 4; how++)
		shutdown(fd, how);
	say("done", 0);
	return 0;
}

static int held(const char *path)
{
	int fd = listen_at(SOCK_STREAM, path, 0), accepted = 0;

	(void)!read(0, buffer, 1);
	while (accepted < 4 && accept(fd, NULL, NULL) >= 0)
		accepted++;
	say("accepted", accepted);
	return 0;
}

static int wait_for_room(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd, full = 0;

	// One in the queue, and then the queue is full.
	for (int at = 0; at < 4; at++) {
		fd = socket(AF_UNIX, SOCK_STREAM | (full ? 0 : SOCK_NONBLOCK), 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			continue;
		if (errno != EAGAIN || full) {
			say("connect", -1);
			return 1;
		}
		full = 1, at--;
		say("full", -1);
	}
	say("all connected", 0);
	return 0;
}

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

static int give(const char *path)
{
	union control control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { "there", 5 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	int fd = accept(listen_at(SOCK_STREAM, path, 1), NULL, NULL);

	(void)!read(fd, buffer, sizeof buffer);
	// Descriptor 0, since nothing else is set.
	return sendmsg(fd, &message, 0) != 5;
}

static int answer(const char *path)
{
	int fd = listen_at(SOCK_DGRAM, path, 0);
	struct sockaddr_un from;
	socklen_t len;

	for (int at = 0; at < 3; at++) {
		len = sizeof from;
		printf("%ld bytes, ", (long)recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &len));
		// The asker's name as this side knows it.
		from = address(path);
		strcat(from.sun_path, ".asks");
		say("answer", sendto(fd, buffer, 6, 0, (struct sockaddr *)&from, sizeof from));
	}
	say("connect", connect(fd, (struct sockaddr *)&from, sizeof from));
	say("send", send(fd, "bye", 3, 0));
	return 0;
}

static int ask(const char *path)
{
	struct sockaddr_un to = address(path), own = address(path);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcat(own.sun_path, ".asks");
	unlink(own.sun_path);
	say("bind", bind(fd, (struct sockaddr *)&own, sizeof own));
	say("ask", sendto(fd, "first?", 6, 0, (struct sockaddr *)&to, sizeof to));
	say("answer", recv(fd, buffer, sizeof buffer, 0));
	say("ask", sendto(fd, buffer, 60000, 0, (struct sockaddr *)&to, sizeof to));
	say("answer", recv(fd, buffer, sizeof buffer, 0));
	say("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
	say("ask", send(fd, "third?", 6, 0));
	say("answer", recv(fd, buffer, sizeof buffer, 0));
	say("bye", recv(fd, buffer, sizeof buffer, 0));
	printf("%.3s\n", buffer);
	return 0;
}

static int rights(const char *path)
{
	union control control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { buffer, 5 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	int fd = dial(SOCK_STREAM, path);

	say("a descriptor goes out", sendmsg(fd, &message, 0));
	say("ask", send(fd, "ask", 3, 0));
	say("receive", recvmsg(fd, &message, 0));
	say("descriptors", message.msg_controllen > 0);
	say("cut", !!(message.msg_flags & MSG_CTRUNC));
	return 0;
}

static int read_fifo(const char *path)
{
	int fd = open(path, O_RDONLY);
	long got;

	say("open", fd < 0 ? -1 : 0);
	while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) != 0) {
		if (got < 0) {
			say("read", got);
			break;
		}
		printf("%.*s\n", (int)got, buffer);
		fflush(stdout);
	}
	say("end", 0);
	return 0;
}

static int write_fifo(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	say("open", fd < 0 ? -1 : 0);
	say("write", write(fd, text, strlen(text)));
	return 0;
}

static int nowriter(const char *path)
{
	int reader, writer;
	struct pollfd in = { .events = POLLIN };

	say("writer alone", open(path, O_WRONLY | O_NONBLOCK));
	reader = open(path, O_RDONLY | O_NONBLOCK);
	say("reader alone", reader < 0 ? -1 : 0);
	say("nobody writes", read(reader, buffer, 10));
	writer = open(path, O_WRONLY | O_NONBLOCK);
	say("writer", writer < 0 ? -1 : 0);
	say("nothing there", read(reader, buffer, 10));
	say("write", write(writer, "abc", 3));
	in.fd = reader;
	say("poll", poll(&in, 1, 10000));
	say("read", read(reader, buffer, 10));
	say("seek", lseek(reader, 0, SEEK_SET));
	close(writer);
	in.events = 0;
	say("poll", poll(&in, 1, 10000));
	say("events", in.revents);
	say("end", read(reader, buffer, 10));
	return 0;
}

// Opens PATH, or files under the directory PATH, until that fails; then all works as before.
static int fill(const char *path)
{
	static int fds[4096];
	char name[200];
	struct stat found;
	int count = 0, first, last;

	if (stat(path, &found) < 0)
		return 4;
	for (; count < 4096; count++) {
		if (S_ISFIFO(found.st_mode)) {
			fds[count] = open(path, O_RDWR | O_NONBLOCK);
		} else {
			snprintf(name, sizeof name, "%s/file%d", path, count);
			fds[count] = open(name, O_RDWR | O_CREAT, 0600);
		}
		if (fds[count] < 0)
			break;
	}
	say("the last", count < 4096 ? -1 : 0);
	say("many", count > 100);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	snprintf(name, sizeof name, "%s.after", path);
	say("afterwards", (first = open(name, O_RDWR | O_CREAT, 0600)) < 0 ? -1 : 0);
	say("write", write(first, "abc", 3));
	say("again", (last = open(name, O_RDONLY)) < 0 ? -1 : 0);
	say("read", read(last, buffer, 10));
	say("remove", unlink(name));
	return 0;
}

int main(int count, char **words)
{
	const char *role = count > 2 ? words[1] : "";

	alarm(60);
	if (!strcmp(role, "serve") && count > 3)
		return serve(words[2], words[3]);
	if (!strcmp(role, "call") && count > 3)
		return call(words[2], words[3]);
	if (!strcmp(role, "pester") && count > 3)
		return pester(words[2], words[3]);
	if (!strcmp(role, "held"))
		return held(words[2]);
	if (!strcmp(role, "wait"))
		return wait_for_room(words[2]);
	if (!strcmp(role, "answer"))
		return answer(words[2]);
	if (!strcmp(role, "ask"))
		return ask(words[2]);
	if (!strcmp(role, "give"))
		return give(words[2]);
	if (!strcmp(role, "rights"))
		return rights(words[2]);
	if (!strcmp(role, "read"))
		return read_fifo(words[2]);
	if (!strcmp(role, "write") && count > 3)
		return write_fifo(words[2], words[3]);
	if (!strcmp(role, "fill"))
		return fill(words[2]);
	if (!strcmp(role, "nowriter"))
		return nowriter(words[2]);
	fprintf(stderr, "special: unknown role\n");
	return 2;
}
