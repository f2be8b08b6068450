# Everything that CI runs, in the same way.
check:
    .ci/run

# Format the sources.
fmt:
    cargo fmt

# Clippy as CI runs it.
lint:
    cargo clippy --all-features --all-targets -- -D warnings

# The tests, without the release simulator.
test *ARGS:
    cargo test --all-features {{ ARGS }}

# The story of three nodes.
story *ARGS:
    cargo run --example three_nodes -- {{ ARGS }}

# The simulator, at full speed and all seeds.
sim *ARGS:
    cargo test --release --features sim --test sim -- {{ ARGS }}

# Many seeds of the simulator: `just sweep --seeds 10000`.
sweep *ARGS:
    cargo run --release --features sim --example sweep -- {{ ARGS }}

# Break the crate on purpose, and see that the simulator notices.
mutants *ARGS:
    tests/mutants/run {{ ARGS }}

# The documentation, private items included.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --all-features --no-deps --document-private-items --open

# Measure; compare with `--save-baseline` and `--baseline`.
bench *ARGS:
    cargo bench --all-features -- {{ ARGS }}

# Fuzz one target: `just fuzz datagram 60`.
fuzz TARGET SECONDS="60":
    cargo +nightly fuzz run {{ TARGET }} -- -max_total_time={{ SECONDS }}
