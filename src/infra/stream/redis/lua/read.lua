-- KEYS: stream. ARGV: the id to read after, most entries. The last id, and the entries.
local id = tail(KEYS[1])
return { id, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2]) }
