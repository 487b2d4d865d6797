//! exitpool keeps a Linux host's pool of Tor SOCKS5 proxies as a YAML file in Git says it should be.
