//! Mount options of tmpfs (`man 5 tmpfs`).

use std::fmt::Write as _;

use abi::{Errno, PAGE_SIZE};

use crate::host;

/// Mount options of one tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Most bytes of content: `None` is half of the machine's memory, 0 no limit.
    pub size: Option<u64>,
    /// Most inodes: `None` is one for every page of half of the machine's memory, 0 no limit.
    pub inodes: Option<u64>,
    /// Permission bits of the root directory.
    pub mode: u32,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

impl Default for TmpfsOptions {
    fn default() -> TmpfsOptions {
        TmpfsOptions { size: None, inodes: None, mode: 0o1777, uid: 0, gid: 0 }
    }
}

impl TmpfsOptions {
    /// Without limits, as the kernel's own mounts have it.
    pub fn unlimited() -> TmpfsOptions {
        TmpfsOptions { size: Some(0), inodes: Some(0), ..TmpfsOptions::default() }
    }

    /// Reads the data string of `mount(2)`, for example `"size=50%,mode=755"`. `EINVAL` for what Linux refuses.
    pub fn parse(data: &str) -> Result<TmpfsOptions, Errno> {
        let mut options = TmpfsOptions::default();
        for option in data.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "size" => options.size = Some(size(value)?),
                "nr_blocks" => {
                    options.size = Some(suffixed(value)?.checked_mul(PAGE_SIZE).ok_or(Errno::EINVAL)?);
                }
                "nr_inodes" => options.inodes = Some(suffixed(value)?),
                "mode" => options.mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777,
                "uid" => options.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => options.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                // Accepted without effect: placement and swapping are the host's.
                "huge" | "mpol" | "noswap" | "inode32" | "inode64" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    pub(super) fn max_pages(&self) -> u64 {
        match self.size {
            None => host::total_memory() / 2 / PAGE_SIZE,
            Some(0) => u64::MAX,
            Some(bytes) => bytes.div_ceil(PAGE_SIZE),
        }
    }

    pub(super) fn max_inodes(&self) -> u64 {
        match self.inodes {
            None => host::total_memory() / 2 / PAGE_SIZE,
            Some(0) => u64::MAX,
            Some(count) => count,
        }
    }

    /// Formats what `/proc/mounts` shows, with a leading comma for each option.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        if let Some(size) = self.size.filter(|size| *size > 0) {
            let _ = write!(text, ",size={}k", size.div_ceil(PAGE_SIZE) * (PAGE_SIZE / 1024));
        }
        if let Some(inodes) = self.inodes.filter(|inodes| *inodes > 0) {
            let _ = write!(text, ",nr_inodes={inodes}");
        }
        if self.mode != 0o1777 {
            let _ = write!(text, ",mode={:03o}", self.mode);
        }
        if self.uid != 0 {
            let _ = write!(text, ",uid={}", self.uid);
        }
        if self.gid != 0 {
            let _ = write!(text, ",gid={}", self.gid);
        }
        text + ",inode64"
    }
}

/// `size=`: bytes, with a suffix, or per cent of memory.
fn size(value: &str) -> Result<u64, Errno> {
    match value.strip_suffix('%') {
        Some(percent) => {
            let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
            (host::total_memory() / 100).checked_mul(percent).ok_or(Errno::EINVAL)
        }
        None => suffixed(value),
    }
}

/// `memparse` of the kernel: a number with an optional suffix k, m, g, t.
fn suffixed(value: &str) -> Result<u64, Errno> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(Errno::EINVAL),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_mount_gives_them() {
        let options = TmpfsOptions::parse("size=64k,mode=755,uid=7,gid=8,nr_inodes=1k").unwrap();
        assert_eq!(options, TmpfsOptions { size: Some(65536), inodes: Some(1024), mode: 0o755, uid: 7, gid: 8 });
        assert_eq!(options.show(), ",size=64k,nr_inodes=1024,mode=755,uid=7,gid=8,inode64");
        assert_eq!(TmpfsOptions::parse("nr_blocks=2").unwrap().max_pages(), 2);
        assert!(TmpfsOptions::parse("size=10%").unwrap().max_pages() > 0);
        for bad in ["size=x", "size=1q", "mode=9", "what=1", "size=99999999999999999999"] {
            assert_eq!(TmpfsOptions::parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
