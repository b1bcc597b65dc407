//! What programs read in `/sys`.

use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;

use super::{Interface, Machine, SysFs, SysView};
use crate::{BytesDst, FileSystem, InodeRef, IoFlags};

struct Loopback;

impl SysView for Loopback {
    fn interfaces(&self) -> Vec<Interface> {
        let lo = Interface { name: "lo".into(), index: 1, mtu: 65536, flags: 9, kind: 772, ..Interface::default() };
        vec![Interface { state: "unknown", ..lo }]
    }

    fn memory(&self) -> [u64; 2] {
        [1 << 30, 1 << 20]
    }
}

fn walk(cpus: u32, path: &str) -> Result<InodeRef, Errno> {
    let machine = Machine { cpus, huge_pages: "always [madvise] never".into() };
    let root = SysFs::new(&machine, Arc::new(Loopback)).root();
    path.split('/').try_fold(root, |dir, name| dir.lookup(name.as_bytes()))
}

fn text(cpus: u32, path: &str) -> String {
    let file = walk(cpus, path).unwrap().open(OpenFlags::empty()).unwrap();
    let mut buf = [0; 4096];
    let got = file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)).unwrap();
    String::from_utf8(buf[..got].to_vec()).unwrap()
}

#[test]
fn processors_are_listed() {
    assert_eq!(text(1, "devices/system/cpu/online"), "0\n");
    assert_eq!(text(2, "devices/system/cpu/possible"), "0-1\n");
    assert_eq!(text(100, "devices/system/cpu/present"), "0-99\n");
    assert_eq!(text(2, "devices/system/cpu/cpu1/topology/core_siblings_list"), "0-1\n");
    assert_eq!(text(40, "devices/system/cpu/cpu33/topology/thread_siblings"), "02,00000000\n");
    assert_eq!(text(40, "devices/system/cpu/cpu33/topology/package_cpus"), "ff,ffffffff\n");
    assert_eq!(walk(2, "devices/system/cpu/cpu2").err(), Some(Errno::ENOENT));
}

#[test]
fn what_lscpu_and_libnuma_read_of_processors_is_as_on_the_host() {
    let base = "devices/system/cpu/cpu0/cache";
    for index in 0..4 {
        for name in ["level", "size", "type", "number_of_sets", "ways_of_associativity", "coherency_line_size"] {
            let path = format!("{base}/index{index}/{name}");
            if let Ok(host) = std::fs::read_to_string(format!("/sys/{path}")) {
                assert_eq!(text(2, &path), host, "{path}");
            }
        }
    }
    assert_eq!(walk(2, &format!("{base}/index01")).err(), Some(Errno::ENOENT));
    assert_eq!(
        text(1, "devices/system/node/node0/meminfo"),
        "Node 0 MemTotal:        1048576 kB\nNode 0 MemFree:            1024 kB\nNode 0 MemUsed:         1047552 kB\n"
    );
}

#[test]
fn interfaces_are_links_to_devices() {
    assert_eq!(walk(1, "class/net/lo").unwrap().readlink().unwrap(), b"../../devices/virtual/net/lo");
    for name in ["mtu", "operstate", "address", "type", "flags", "ifindex", "carrier"] {
        let host = std::fs::read_to_string(format!("/sys/class/net/lo/{name}"));
        if let Ok(host) = host {
            assert_eq!(text(1, &format!("devices/virtual/net/lo/{name}")), host, "{name}");
        }
    }
    assert_eq!(walk(1, "class/net/eth0").err(), Some(Errno::ENOENT));
}

#[test]
fn sizes_and_huge_pages_read_as_on_linux() {
    assert_eq!(walk(1, "kernel/cpu_byteorder").unwrap().attr().unwrap().size, 4096);
    assert_eq!(text(1, "kernel/mm/transparent_hugepage/enabled"), "always [madvise] never\n");
    assert!(walk(1, "block").is_ok());
}
