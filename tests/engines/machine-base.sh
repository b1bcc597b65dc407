# Makes the parts of a virtual machine in $PLACE: a kernel, modules for its start in init/modules, and in tree/ a system of this
# machine's own $PACKAGES and all that they depend on.
set -eu
cd "$PLACE"; rm -rf tree kernel-package init
mkdir -p tree/{proc,sys,dev,run,tmp,mnt,var/lib,var/tmp,root,home,etc/systemd/system/multi-user.target.wants,usr/{bin,sbin,lib/modules,lib64}} kernel-package/get init/modules
for dir in bin sbin lib lib64; do ln -s usr/$dir tree/$dir; done
chmod 1777 tree/tmp tree/var/tmp

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
(cd kernel-package/get && apt-get download -qq "$package" 2>/dev/null); dpkg -x kernel-package/get/*.deb kernel-package
cp kernel-package/boot/vmlinuz-* kernel; cp -a kernel-package/lib/modules/* tree/usr/lib/modules/
depmod -b tree "$(ls tree/usr/lib/modules)"
for module in $MODULES; do find kernel-package -name "$module.ko" -exec cp {} init/modules/ \;; done

all=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $PACKAGES 2>/dev/null | grep -E '^[a-z0-9]' | sort -u)
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' $all 2>/dev/null | awk '$1 == "ii" {print $2}')
for one in $installed; do dpkg -L "$one"; done | grep -vE '^/usr/share/(doc|man|locale|info|lintian|i18n|zoneinfo)|/perl|/gconv' | sort -u |
    while read -r file; do if [ -L "$file" ] || [ -f "$file" ]; then echo "$file"; fi; done >files
tar -C / --no-recursion -cf - -T files 2>/dev/null | tar -C tree -xf -
rm -rf kernel-package files
cp -a /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/alternatives /etc/nsswitch.conf /etc/pam.d tree/etc/
printf '%s\n' 'root:x:0:0:root:/root:/bin/bash' 'messagebus:x:100:101::/nonexistent:/bin/false' 'user:x:1000:1000::/home/user:/bin/bash' 'nobody:x:65534:65534::/:/bin/false' >tree/etc/passwd
printf '%s\n' root:x:0: tty:x:5: disk:x:6: kmem:x:15: adm:x:4: utmp:x:43: audio:x:29: video:x:44: input:x:104: kvm:x:105: render:x:106: sgx:x:107: messagebus:x:101: docker:x:102: systemd-journal:x:103: user:x:1000: nogroup:x:65534: >tree/etc/group
printf '%s\n' 'root:*:1::::::' 'user:*:1::::::' >tree/etc/shadow
echo user:100000:65536 | tee tree/etc/subuid >tree/etc/subgid
mkdir -p tree/home/user; chown 1000:1000 tree/home/user
: >tree/etc/machine-id; echo machine >tree/etc/hostname
printf '%s\n' '[Service]' 'Type=oneshot' 'ExecStart=/bin/bash -c "mount /dev/vdb /mnt && exec bash /mnt/machine.sh >/dev/ttyS1 2>&1"' \
    'ExecStopPost=/bin/systemctl poweroff -f' '[Unit]' 'After=basic.target dbus.service' >tree/etc/systemd/system/suite.service
ln -s ../suite.service tree/etc/systemd/system/multi-user.target.wants/
ln -sf /lib/systemd/system/multi-user.target tree/etc/systemd/system/default.target
for unit in docker.service docker.socket containerd.service podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer \
    systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer getty.target dpkg-db-backup.timer; do
    ln -sf /dev/null "tree/etc/systemd/system/$unit"
done
