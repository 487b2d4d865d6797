//! The `exitpool` program.

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("testnet-echo") {
        let r =
            tokio::runtime::Runtime::new().unwrap().block_on(exitpool::testnet::echo::run(args[3].parse().unwrap()));
        std::process::exit(if r.is_ok() { 0 } else { 1 });
    }
}
