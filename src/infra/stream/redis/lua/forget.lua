-- KEYS: stream. ARGV: group. The group is gone, and is no mistake when it was not there.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
