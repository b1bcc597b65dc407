//! What converted profiles decide.

use sentry::task::seccomp::{Data, Program, action};
use serde_json::{Value, json};

use super::*;

const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ERRNO | 38;
const ARCH: u32 = 0xc000_003e;

fn converted(profile: Value) -> Result<Option<Vec<Insn>>> {
    convert(&serde_json::from_value(profile).expect("a profile"))
}

fn program(profile: Value) -> Program {
    Program::new(&converted(profile).expect("enforceable").expect("a filter")).expect("sound")
}

fn verdict(program: &Program, nr: i32, args: &[u64]) -> u32 {
    let mut data = Data { nr, arch: ARCH, ..Data::default() };
    data.args[..args.len()].copy_from_slice(args);
    program.run(&data)
}

#[test]
fn calls_are_found_by_number_and_new_ones_are_unknown() {
    let some = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "write", "nosuchcall", "chown32", "futex"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["acct"], "action": "SCMP_ACT_TRAP"},
        ]
    }));
    let want = [(0, action::ALLOW), (1, action::ALLOW), (2, EPERM), (83, action::ERRNO | 13), (84, EPERM)];
    for (number, value) in want.into_iter().chain([(101, action::KILL_PROCESS), (163, action::TRAP)]) {
        assert_eq!(verdict(&some, number, &[]), value, "{number}");
    }
    // futex is the newest that the profile knows.
    assert_eq!([202, 203, -1].map(|number| verdict(&some, number, &[])), [action::ALLOW, ENOSYS, ENOSYS]);
    let other_arch = Data { nr: 0, arch: 0x4000_0003, ..Data::default() };
    assert_eq!(some.run(&other_arch), action::KILL_THREAD);
}

#[test]
fn a_permissive_profile_only_forbids_what_it_names() {
    let some = program(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
    }));
    assert_eq!([82, 83, 84, 9999, -1].map(|number| verdict(&some, number, &[])), {
        let allow = action::ALLOW;
        [allow, EPERM, allow, allow, allow]
    });
    assert_eq!(verdict(&some, 0x4000_0000, &[]), action::KILL_THREAD);
    let x32 = program(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
    }));
    assert_eq!(verdict(&x32, 0x4000_0000 | 83, &[]), EPERM);
    assert_eq!(converted(json!({"defaultAction": "SCMP_ACT_ALLOW"})).expect("enforceable"), None);
}

#[test]
fn operators_compare_64_bits_without_sign() {
    let edge = 0x1_0000_0002_u64;
    let values = [0, 2, edge - 1, edge, edge + 1, 0x2_0000_0001, u64::MAX];
    let cases: [(&str, fn(u64, u64) -> bool); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    for (operator, holds) in cases {
        let some = program(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": edge, "op": operator}]}]
        }));
        for value in values {
            let want = if holds(value, edge) { action::ALLOW } else { EPERM };
            assert_eq!(verdict(&some, 135, &[value]), want, "{operator} {value:#x}");
        }
    }
    let masked = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]
    }));
    let results = [0x11, 0x1_0000_0011, 0x1000_0000, 0x0002_0000].map(|flags| verdict(&masked, 56, &[flags]));
    assert_eq!(results, [action::ALLOW, action::ALLOW, EPERM, EPERM]);
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_all_hold() {
    let args = |list: &[(usize, u64)]| -> Value {
        list.iter().map(|(index, value)| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"})).collect()
    };
    let one = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args(&[(0, 1), (0, 2)])},
            {"names": ["socketpair"], "action": "SCMP_ACT_ALLOW", "args": args(&[(0, 1), (2, 7)])},
            {"names": ["socketpair"], "action": "SCMP_ACT_TRAP", "args": args(&[(5, 9)])},
            {"names": ["mkdir"], "action": "SCMP_ACT_TRAP", "args": args(&[(1, 1)])},
            {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"},
        ]
    }));
    assert_eq!([1, 2, 3].map(|family| verdict(&one, 41, &[family])), [action::ALLOW, action::ALLOW, EPERM]);
    assert_eq!([7, 8].map(|protocol| verdict(&one, 53, &[1, 0, protocol])), [action::ALLOW, EPERM]);
    assert_eq!(verdict(&one, 53, &[1, 0, 0, 0, 0, 9]), action::TRAP);
    assert_eq!(verdict(&one, 83, &[0, 1]), action::ALLOW);
}

#[test]
fn a_long_profile_is_searched_in_jumps_of_any_length() {
    // Every second call, with conditions, so that halves are further apart than a branch reaches.
    let names: Vec<&str> = abi::table::ENTRIES.iter().step_by(2).map(|entry| entry.name).collect();
    let long = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW", "args": [{"index": 3, "value": 5, "op": "SCMP_CMP_GT"}]}]
    }));
    let (_, known) = abi::table::ENTRIES.split_last().expect("calls");
    for (at, entry) in known.iter().enumerate() {
        let number = i32::try_from(entry.number).expect("small");
        let want = if at % 2 == 0 { action::ALLOW } else { EPERM };
        assert_eq!(verdict(&long, number, &[0, 0, 0, 6]), want, "{}", entry.name);
        assert_eq!(verdict(&long, number, &[0, 0, 0, 5]), EPERM, "{}", entry.name);
    }
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let call = |action: &str, rest: Value| {
        let mut call = json!({"names": ["mkdir"], "action": action});
        for (key, value) in rest.as_object().into_iter().flatten() {
            call[key] = value.clone();
        }
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]})
    };
    let cases = [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "SCMP_ACT_NOTIFY"),
        (call("SCMP_ACT_NOTIFY", json!({})), "SCMP_ACT_NOTIFY"),
        (call("SCMP_ACT_KILL", json!({"errnoRet": 1})), "no errnoRet"),
        (call("SCMP_ACT_ERRNO", json!({"errnoRet": 70000})), "too large"),
        (call("SCMP_ACT_ERRNO", json!({"names": []})), "without names"),
        (call("SCMP_ACT_ERRNO", json!({"names": [""]})), "empty name"),
        (call("SCMP_ACT_ERRNO", json!({"args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})), "argument 6"),
    ];
    for (profile, word) in cases {
        let error = converted(profile).expect_err(word);
        assert!(format!("{error:#}").contains(word), "{error:#}");
    }
    let args: Vec<Value> = (0..3000).map(|value| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"})).collect();
    assert!(converted(call("SCMP_ACT_ERRNO", json!({"args": args}))).is_err());
}
