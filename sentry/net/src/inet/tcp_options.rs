//! Options of level `IPPROTO_TCP`: remembered and reported; on loopback most change nothing (`man 7 tcp`).

use abi::Errno;

use crate::opts::{bytes, int};
use crate::uapi::tcp;

/// Name, default, least and greatest value; `SWITCH` for on/off.
struct Rule(i32, i32, i32, i32);

const SWITCH: (i32, i32) = (i32::MIN, i32::MAX);

const RULES: &[Rule] = &[
    Rule(tcp::NODELAY, 0, SWITCH.0, SWITCH.1),
    Rule(tcp::CORK, 0, SWITCH.0, SWITCH.1),
    Rule(tcp::QUICKACK, 1, SWITCH.0, SWITCH.1),
    Rule(tcp::KEEPIDLE, 7200, 1, 32_767),
    Rule(tcp::KEEPINTVL, 75, 1, 32_767),
    Rule(tcp::KEEPCNT, 9, 1, 127),
    Rule(tcp::SYNCNT, 6, 1, 127),
    Rule(tcp::LINGER2, 60, i32::MIN, i32::MAX - 1),
    Rule(tcp::DEFER_ACCEPT, 0, i32::MIN, i32::MAX - 1),
    Rule(tcp::WINDOW_CLAMP, 0, 0, i32::MAX - 1),
    Rule(tcp::USER_TIMEOUT, 0, 0, i32::MAX),
    Rule(tcp::FASTOPEN, 0, 0, i32::MAX),
    Rule(tcp::TIMESTAMP, 0, i32::MIN, i32::MAX - 1),
    Rule(tcp::NOTSENT_LOWAT, 0, i32::MIN, i32::MAX - 1),
    Rule(tcp::SAVED_SYN - 1, 0, 0, 2), // TCP_SAVE_SYN
    Rule(tcp::INQ, 0, 0, 1),
];

/// Largest segment on loopback.
const LOOPBACK_MSS: i32 = 65_483;
/// What an unconnected socket reports.
const DEFAULT_MSS: i32 = 536;
/// Bytes of `struct tcp_info`, Linux 6.18.
const INFO_LEN: usize = 280;

/// Options of one TCP socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct TcpOptions {
    changed: Vec<(i32, i32)>,
    maxseg: i32,
    cubic: bool,
}

impl TcpOptions {
    fn number(&self, name: i32) -> Option<i32> {
        let changed = self.changed.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
        changed.or_else(|| RULES.iter().find(|rule| rule.0 == name).map(|rule| rule.1))
    }

    /// Sets an option: `EINVAL`, `ENOENT` for an unknown congestion control, `ENOPROTOOPT`.
    pub(crate) fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == tcp::CONGESTION {
            if value.is_empty() {
                return Err(Errno::EINVAL);
            }
            let end = value.iter().take(15).position(|byte| *byte == 0).unwrap_or(value.len().min(15));
            self.cubic = match &value[..end] {
                b"cubic" => true,
                b"reno" => false,
                _ => return Err(Errno::ENOENT),
            };
            return Ok(());
        }
        let number = int(value)?;
        if name == tcp::MAXSEG {
            if number != 0 && !(88..=32_767).contains(&number) {
                return Err(Errno::EINVAL);
            }
            self.maxseg = number;
            return Ok(());
        }
        let rule = RULES.iter().find(|rule| rule.0 == name).ok_or(Errno::ENOPROTOOPT)?;
        let number = match (rule.2, rule.3) {
            SWITCH => i32::from(number != 0),
            (least, most) if !(least..=most).contains(&number) => return Err(Errno::EINVAL),
            _ => number,
        };
        self.changed.retain(|entry| entry.0 != name);
        self.changed.push((name, number));
        Ok(())
    }

    /// Returns an option. `state` is the TCP state, `unread` the bytes in the receive queue.
    pub(crate) fn get(&self, name: i32, state: u8, unread: usize) -> Result<Vec<u8>, Errno> {
        let connected = !matches!(state, 7 | 10);
        Ok(match name {
            tcp::CONGESTION => {
                let mut text = [0; 16];
                let name: &[u8] = if self.cubic { b"cubic" } else { b"reno" };
                text[..name.len()].copy_from_slice(name);
                text.to_vec()
            }
            tcp::MAXSEG => bytes(match (connected, self.maxseg) {
                (true, 0) => LOOPBACK_MSS,
                (true, most) => most.min(LOOPBACK_MSS),
                (false, 0) => DEFAULT_MSS,
                (false, most) => most,
            }),
            tcp::INFO => self.info(state, connected, unread),
            tcp::ULP => Vec::new(),
            _ => bytes(self.number(name).ok_or(Errno::ENOPROTOOPT)?),
        })
    }

    /// Builds a `struct tcp_info` with what a loopback connection knows of itself.
    fn info(&self, state: u8, connected: bool, unread: usize) -> Vec<u8> {
        let mut info = vec![0; INFO_LEN];
        let mut put = |at: usize, value: i64| {
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        let mss = i64::from(if connected { LOOPBACK_MSS } else { DEFAULT_MSS });
        put(8, if connected { 201_000 } else { 1_000_000 }); // tcpi_rto, µs
        put(12, 40_000); // tcpi_ato
        put(16, mss); // tcpi_snd_mss
        put(20, mss); // tcpi_rcv_mss
        put(60, if connected { 65_535 } else { 0 }); // tcpi_pmtu
        put(64, 65_483); // tcpi_rcv_ssthresh
        put(68, if connected { 20 } else { 0 }); // tcpi_rtt, µs
        put(72, if connected { 10 } else { 250_000 }); // tcpi_rttvar
        put(76, i64::from(i32::MAX)); // tcpi_snd_ssthresh
        put(80, 10); // tcpi_snd_cwnd
        put(84, mss); // tcpi_advmss
        put(88, 3); // tcpi_reordering
        put(96, i64::try_from(unread).unwrap_or(i64::MAX).max(65_483)); // tcpi_rcv_space
        info[0] = state;
        info[5] = 0x7; // timestamps, SACK, window scale
        info[6] = 0x77;
        info
    }
}
