# shell: /bin/sh
# needs: cc=gcc
# heavy: compiles for many seconds
# Cargo: a workspace of two crates with a build script, unit tests with threads and a document test.
set -eu
d=$(mktemp -d); cd "$d"; trap 'cd /; rm -rf "$d"' EXIT
PATH=$HOME/.cargo/bin:$PATH; export CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never
mkdir -p lib/src bin/src
printf '[workspace]\nmembers = ["lib", "bin"]\nresolver = "2"\n' > Cargo.toml
printf '[package]\nname = "lib"\nversion = "0.1.0"\nedition = "2021"\n' > lib/Cargo.toml
printf '[package]\nname = "bin"\nversion = "0.1.0"\nedition = "2021"\nbuild = "build.rs"\n[dependencies]\nlib = { path = "../lib" }\n' > bin/Cargo.toml
cat > lib/src/lib.rs <<'END'
/// Adds in parallel.
///
/// ```
/// assert_eq!(lib::sum(10), 45);
/// ```
pub fn sum(n: u64) -> u64 {
    let parts: Vec<_> = (0..4).map(|k| std::thread::spawn(move || (0..n).filter(|i| i % 4 == k).sum::<u64>())).collect();
    parts.into_iter().map(|p| p.join().unwrap()).sum()
}
#[cfg(test)] mod tests {
    #[test] fn sums() { assert_eq!(super::sum(1000), 499500); }
    #[test] #[should_panic] fn panics() { panic!("so be it"); }
    #[test] fn walks() { assert!(std::fs::read_dir(".").unwrap().count() >= 2); }
}
END
echo 'fn main() { println!("cargo:rustc-env=MADE={}", std::fs::read_dir("src").unwrap().count()); }' > bin/build.rs
echo 'fn main() { println!("{} {}", lib::sum(100_000), env!("MADE")); std::process::exit(3) }' > bin/src/main.rs
cargo build -q; echo "build $?"; ./target/debug/bin || echo "exit $?"
cargo run -q --release || echo "exit $?"
cargo test -q 2>&1 | grep '^test result' | sed 's/finished in.*//'
echo '// changed' >> lib/src/lib.rs; cargo build 2>&1 | grep -c Compiling
cargo build 2>&1 | grep -c Compiling || echo fresh
