//! Which options of a host socket a guest may set and read. The sentry's seccomp filter is made from the same lists, so
//! what is not here can't be asked of the host at all.
//!
//! Left out: what reaches beyond the socket (`SO_ATTACH_FILTER` and other programs, `TCP_ULP`, netfilter's tables, raw
//! headers), what needs rights that the sentry hasn't, and what the sentry must decide (time limits, lingering, marks).

/// What may be done with the options of one level.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// `SOL_*`.
    pub level: u64,
    /// Names that may be set.
    pub set: &'static [u64],
    /// Names that may be read besides those.
    pub get: &'static [u64],
    /// Of those that may be set, what brings control messages along with received data.
    pub chatty: &'static [u64],
}

impl Level {
    /// Tells whether an option may be set.
    pub fn may_set(&self, name: i32) -> bool {
        has(self.set, name)
    }

    /// Tells whether an option may be read.
    pub fn may_get(&self, name: i32) -> bool {
        has(self.set, name) || has(self.get, name)
    }

    /// Tells whether setting it brings control messages.
    pub fn is_chatty(&self, name: i32) -> bool {
        has(self.chatty, name)
    }
}

fn has(list: &[u64], name: i32) -> bool {
    u64::try_from(name).is_ok_and(|name| list.contains(&name))
}

/// `SOL_SOCKET`: REUSEADDR, DONTROUTE, BROADCAST, SNDBUF, RCVBUF, KEEPALIVE, OOBINLINE, NO_CHECK, PRIORITY, LINGER (to zero
/// only), REUSEPORT, RCVLOWAT, BINDTODEVICE, TIMESTAMP, TIMESTAMPNS, TIMESTAMPING, RXQ_OVFL, PEEK_OFF, INCOMING_CPU,
/// MAX_PACING_RATE, BINDTOIFINDEX, TIMESTAMP_NEW, TIMESTAMPNS_NEW, TIMESTAMPING_NEW, TXREHASH; ERROR, ACCEPTCONN, MEMINFO,
/// INCOMING_NAPI_ID.
pub const SOCKET: Level = Level {
    level: 1,
    set: &[2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 18, 25, 29, 35, 37, 40, 42, 47, 49, 62, 63, 64, 65, 74],
    get: &[4, 30, 55, 56],
    chatty: &[29, 35, 37, 40, 63, 64, 65],
};

/// `IPPROTO_IP`: TOS, TTL, RECVOPTS, RETOPTS, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, FREEBIND, RECVORIGDSTADDR,
/// MINTTL, BIND_ADDRESS_NO_PORT, multicast (32 to 45, 49), UNICAST_IF, LOCAL_PORT_RANGE; MTU, SO_ORIGINAL_DST.
pub const IP: Level = Level {
    level: 0,
    set: &[1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 20, 21, 24, 32, 33, 34, 35, 36, 37, 38, 39, 40, 42, 45, 49, 50, 51],
    get: &[14, 80],
    chatty: &[6, 7, 8, 12, 13, 20],
};

/// `IPPROTO_IPV6`: UNICAST_HOPS, multicast (17 to 21, 29, 42, 45), MTU_DISCOVER, MTU, RECVERR, V6ONLY, RECVPKTINFO, PKTINFO,
/// RECVHOPLIMIT, RECVPATHMTU, DONTFRAG, RECVTCLASS, TCLASS, AUTOFLOWLABEL, ADDR_PREFERENCES, MINHOPCOUNT, RECVORIGDSTADDR,
/// UNICAST_IF, FREEBIND; PATHMTU, SO_ORIGINAL_DST.
pub const IPV6: Level = Level {
    level: 41,
    set: &[16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 29, 42, 45, 49, 50, 51, 60, 62, 66, 67, 70, 72, 73, 74, 76, 78],
    get: &[61, 80],
    chatty: &[49, 51, 60, 66, 74],
};

/// `IPPROTO_TCP`: NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP, QUICKACK,
/// CONGESTION, THIN_LINEAR_TIMEOUTS, THIN_DUPACK, USER_TIMEOUT, FASTOPEN, TIMESTAMP, NOTSENT_LOWAT, SAVE_SYN,
/// FASTOPEN_CONNECT, FASTOPEN_NO_COOKIE, INQ, TX_DELAY; INFO, CC_INFO, SAVED_SYN.
pub const TCP: Level = Level {
    level: 6,
    set: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 16, 17, 18, 23, 24, 25, 27, 30, 34, 36, 37],
    get: &[11, 26, 28],
    chatty: &[36],
};

/// `IPPROTO_UDP`: CORK, NO_CHECK6_TX, NO_CHECK6_RX, SEGMENT, GRO.
pub const UDP: Level = Level { level: 17, set: &[1, 101, 102, 103, 104], get: &[], chatty: &[104] };

/// `SOL_SOCKET` of Unix sockets: SNDBUF, RCVBUF, PEEK_OFF; ERROR, ACCEPTCONN. All others are this kernel's own.
pub const UNIX: Level = Level { level: 1, set: &[7, 8, 42], get: &[4, 30], chatty: &[] };

/// All of internet sockets.
pub const LEVELS: [Level; 5] = [SOCKET, IP, IPV6, TCP, UDP];

/// Returns the lists of a level.
pub(crate) fn of(level: i32) -> Option<&'static Level> {
    static TABLE: [Level; 5] = LEVELS;
    let level = u64::try_from(level).ok()?;
    TABLE.iter().find(|entry| entry.level == level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_disjoint_and_chatty_options_can_be_set() {
        for level in LEVELS {
            assert!(level.get.iter().all(|name| !level.set.contains(name)), "{level:?}");
            assert!(level.chatty.iter().all(|name| level.set.contains(name)), "{level:?}");
        }
    }

    #[test]
    fn programs_tables_and_other_protocols_are_out_of_reach() {
        // SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_*, SO_MARK, SO_ZEROCOPY, SO_TXTIME
        assert!([26, 50, 51, 52, 36, 60, 61].iter().all(|name| !SOCKET.may_set(*name)));
        // IPT_SO_SET_REPLACE and its kin, IP_HDRINCL, IP_TRANSPARENT
        assert!([64, 65, 66, 96, 3, 19].iter().all(|name| !IP.may_set(*name)));
        // TCP_MD5SIG, TCP_REPAIR, TCP_ULP, TCP_ZEROCOPY_RECEIVE, TCP_AO_*
        assert!([14, 19, 31, 35, 38].iter().all(|name| !TCP.may_get(*name)));
        assert!(of(132).is_none() && of(-1).is_none());
    }
}
