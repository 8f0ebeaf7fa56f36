//! Failed logins as debt in Redis, shared by all replicas: the arithmetic of `allowance.rs`,
//! atomically, on Redis's own clock.

use std::sync::LazyLock;

use redis::Script;

use crate::allowance::Allowance;
use crate::cache::link::RedisLink;

/// `KEYS`: what is charged. `ARGV`: 1 to charge or 0 to look, then burst and interval of each key.
/// Returns the longest wait in milliseconds before this charge. Every key expires when its debt has
/// run off.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local longest = 0
        for i, key in ipairs(KEYS) do
            local burst, interval = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
            -- No debt is larger: one that looks so is of a clock that was put back since.
            local until_ms = tonumber(redis.call('GET', key) or 0)
            local ahead = math.min(math.max(0, until_ms - now), burst * interval)
            longest = math.max(longest, ahead - (burst - 1) * interval)
            if ARGV[1] == '1' then
                local debt = ahead + interval
                redis.call('SET', key, string.format('%.0f', now + debt), 'PX', debt)
            end
        end
        return longest
        ",
    )
});

/// The wait in milliseconds under the strictest of `keys`; nothing when Redis is away.
pub async fn wait_ms(link: &RedisLink, keys: &[(String, Allowance)]) -> Option<u64> {
    invoke(link, keys, 0).await
}

/// One more failure under each of `keys`.
pub async fn charge(link: &RedisLink, keys: &[(String, Allowance)]) {
    let _ = invoke(link, keys, 1).await; // this process has counted it too
}

/// A success: `key` owes nothing.
pub async fn clear(link: &RedisLink, key: &str) {
    // an old debt runs off by itself
    let _: Option<u64> = link.run(redis::cmd("DEL").arg(key)).await;
}

async fn invoke(link: &RedisLink, keys: &[(String, Allowance)], charge: u8) -> Option<u64> {
    let mut call = SCRIPT.arg(charge);
    for (key, allowance) in keys {
        call.key(key).arg(allowance.burst).arg(allowance.interval_ms);
    }
    link.with(async |mut connection| call.invoke_async(&mut connection).await).await
}
