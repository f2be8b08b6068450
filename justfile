# Everything that CI runs, in the same way. Installs nothing, unless CI is set.
check:
    .ci/run

# Format the sources.
fmt:
    cargo fmt --all

# Clippy as CI runs it.
lint:
    cargo clippy --workspace --all-features --all-targets -- -D warnings

# The tests, without the release simulator.
test *ARGS:
    cargo test --workspace --all-features {{ ARGS }}

# The story of three nodes.
story *ARGS:
    cargo run --example three_nodes -- {{ ARGS }}

# The node for amtool: `just node --config.file=examples/node/alertmanager.yml`.
node *ARGS:
    cargo run -p rumormill-node -- {{ ARGS }}

# The simulator, at full speed and all seeds.
sim *ARGS:
    cargo test --release --features sim --test sim -- {{ ARGS }}

# Many seeds of the simulator: `just sweep --seeds 10000`.
sweep *ARGS:
    cargo run --release --features sim --example sweep -- {{ ARGS }}

# The same with debug assertions and overflow checks: `just checked --seeds 1000 --liars 1`.
checked *ARGS:
    cargo run --profile checked --features sim --example sweep -- {{ ARGS }}

# Break the crate on purpose, and see that the simulator notices.
mutants *ARGS:
    tests/mutants/run {{ ARGS }}

# The documentation, private items included.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --all-features --no-deps --document-private-items --open

# Measure; compare with `--save-baseline` and `--baseline`.
bench *ARGS:
    cargo bench --workspace --all-features -- {{ ARGS }}

# Fuzz one target: `just fuzz datagram 60`. Without a nightly toolchain, run the two lines below by hand, the second as
# `RUSTC_BOOTSTRAP=1 cargo fuzz run ...`.
fuzz TARGET SECONDS="60":
    mkdir -p fuzz/corpus/{{ TARGET }}
    cargo +nightly fuzz run {{ TARGET }} fuzz/corpus/{{ TARGET }} fuzz/seeds/{{ TARGET }} -- -max_total_time={{ SECONDS }} -rss_limit_mb=2048 -timeout=10
