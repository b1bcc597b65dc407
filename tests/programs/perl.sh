# shell: /bin/sh
# needs: perl=perl
# Perl: files, processes, signals, sockets, sorting.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
perl -e 'my %h; $h{$_ % 97} += $_ for 1..100000; print join(",", map {"$_=$h{$_}"} (sort { $a <=> $b } keys %h)[0..4]), "\n"'
perl -MPOSIX -e 'pipe(R, W); my $p = fork(); if (!$p) { close R; print W "from child\n"; exit 5 } close W; print <R>; waitpid($p, 0); print $? >> 8, "\n"'
perl -e '$SIG{ALRM} = sub { print "alarm\n"; exit 0 }; alarm 1; sleep 5'
perl -e '$SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$; print "after\n"'
perl -MIO::Socket::INET -e 'my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1"); my $port = $l->sockport;
 if (!fork) { my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port"); print $c "ping\n"; print "client: ", scalar <$c>; exit }
 my $s = $l->accept; print "server: ", scalar <$s>; print $s "pong\n"; close $s; wait'
perl -MFile::Find -MFile::Temp -MDigest::SHA=sha256_hex -e 'my @f; find(sub { push @f, $File::Find::name if -f && /\.pm$/ }, "/usr/share/perl/5.36"); print scalar(@f), " ", sha256_hex(join "\n", sort @f), "\n"'
perl -e 'open my $f, ">", "x" or die; flock $f, 2; print $f "$_\n" for 1..1000; close $f; open $f, "<", "x"; my @l = <$f>; print scalar(@l), " ", (stat "x")[7], "\n"'
perl -e 'print `echo from backticks`; system("exit 3"); print $? >> 8, "\n"; open(P, "-|", "seq 3") or die; print while <P>'
perl -i -pe 's/^1/one/' x; head -3 x; perl -ne 'print if eof' x
