//! The users of this host, by their names.

use std::fs;

/// The name of a user, or `uid 1000` where `/etc/passwd` has none.
pub fn name_of(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// The number of a user, from a name of `/etc/passwd` or the number itself.
pub fn number_of(user: &str) -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    number_in(&users, user).or_else(|| user.parse().ok())
}

fn number_in(users: &str, user: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_third_field() {
        let users = "root:x:0:0:root:/:/bin/sh\nbroken\nada:x:1000:1000::/srv:/bin/sh\n";
        assert_eq!((name_in(users, 0), name_in(users, 1000)), (Some("root"), Some("ada")));
        assert_eq!((number_in(users, "ada"), number_in(users, "adam")), (Some(1000), None));
        assert_eq!((number_of("7"), number_of("root")), (Some(7), Some(0)));
        assert_eq!((name_in(users, 7), name_of(u32::MAX - 1).as_str()), (None, "uid 4294967294"));
    }
}
