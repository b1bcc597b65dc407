# Runs within a minimal Debian root, by chroot and by `runsc run`: packages made, installed and removed; users; job control.
set -e
cat /etc/debian_version; dpkg -l | wc -l; id; ls / | sort | tr '\n' ' '
perl -e 'print 6 * 7, "\n"'; dpkg --verify && echo verified
cd /tmp && echo x > y && cat y && rm y
find /usr/bin -type f | sort | xargs sha256sum | sha256sum
rm -rf /tmp/deb && mkdir -p /tmp/deb/repo /tmp/deb/a/DEBIAN /tmp/deb/a/usr/bin && cd /tmp/deb
printf '#!/bin/sh\necho inner tool\n' > a/usr/bin/inner-tool && chmod 755 a/usr/bin/inner-tool
printf 'Package: inner\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDepends: perl-base\nDescription: test\n' > a/DEBIAN/control
printf '#!/bin/sh\necho "postinst $1"\n' > a/DEBIAN/postinst && chmod 755 a/DEBIAN/postinst
dpkg-deb --root-owner-group -b a repo/inner.deb && dpkg-deb -c repo/inner.deb | awk '{ print $1, $2, $6 }'
cp -a /var/lib/dpkg dpkg.old
dpkg -i repo/inner.deb 2>&1 | grep -v Reading; inner-tool; dpkg -s inner | grep ^Status; dpkg -S /usr/bin/inner-tool
dpkg -r inner 2>&1 | grep -v Reading; dpkg -s inner 2>&1 | grep ^Status || echo gone
cd repo && { dpkg-deb -f inner.deb; echo "Filename: ./inner.deb"; echo "Size: $(stat -c %s inner.deb)"; echo "SHA256: $(sha256sum inner.deb | cut -d' ' -f1)"; } > Packages
cd .. && echo "deb [trusted=yes] file:/tmp/deb/repo ./" > list && mkdir -p lists/partial archives/partial
o="-o Dir::Etc::SourceList=/tmp/deb/list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=/tmp/deb/lists -o Dir::Cache::Archives=/tmp/deb/archives -o APT::Sandbox::User=root -o Acquire::Languages=none"
apt-get $o -qq update; echo "update $?"; apt-cache $o policy inner | grep -c Candidate
DEBIAN_FRONTEND=noninteractive apt-get $o -qq -y install inner 2>&1 | tr -d '\r' | grep -E '^(Setting|postinst)'; inner-tool; apt-get $o check -qq && echo checked
apt-get $o -qq -y purge inner 2>&1 | tr -d '\r' | grep -E '^(Removing|Purging)'; apt-get $o -qq -y remove inner 2>&1 | tail -n 1; [ -e /usr/bin/inner-tool ] || echo removed
rm -rf /var/lib/dpkg && cp -a dpkg.old /var/lib/dpkg; cd / && rm -rf /tmp/deb
bash -c 'set -m; sleep 30 & kill -STOP %1; until jobs | grep -q Stopped; do :; done; kill -CONT %1; kill %1; wait %1; echo "ended $?"; sh -c "kill -STOP \$\$; exit 3" & until jobs | grep -q Stopped; do :; done; fg %% > /dev/null; echo "fg $?"' 2> /dev/null | grep -v '^\[.*\] '
useradd -m someone && su someone -c 'id -un; touch ~/f && stat -c %U ~/f; touch /etc/x 2> /dev/null || echo refused'; userdel -r someone 2> /dev/null
tail -n 1 /etc/passwd
