//! The `exitpool` program.

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("testnet-echo") {
        let listen = args[3].parse().expect("address");
        let r = tokio::runtime::Runtime::new().expect("rt").block_on(exitpool::testnet::echo::run(listen));
        std::process::exit(i32::from(r.is_err()));
    }
}
