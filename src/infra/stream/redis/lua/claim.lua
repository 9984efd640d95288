-- KEYS: stream. ARGV: group, consumer, idle in ms, most entries, age in ms at which a consumer without entries is
-- forgotten. Entries held by others for so long, lowest first; they are this consumer's from now on. Its own, too, when
-- that is any time at all, after five seconds at most: after a failover Redis may hold what was acknowledged before.
local group, me, idle, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local pending = redis.pcall('XPENDING', KEYS[1], group)
if pending.err then return pending end
local held = {}
for _, holder in ipairs(pending[4] or {}) do
  if holder[1] ~= me or tonumber(idle) > 0 then
    local after = holder[1] == me and math.min(tonumber(idle), 5000) or idle
    local entries = redis.call('XPENDING', KEYS[1], group, 'IDLE', after, '-', '+', most, holder[1])
    for _, entry in ipairs(entries) do
      local ms, seq = string.match(entry[1], '^(%d+)-(%d+)$')
      held[#held + 1] = { entry[1], tonumber(ms), tonumber(seq) }
    end
  end
end
if #held == 0 then
  -- Each start reads under a new name: the old names go when they hold nothing.
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
    local of = {}
    for at = 1, #consumer, 2 do of[consumer[at]] = consumer[at + 1] end
    if of['pending'] == 0 and of['name'] ~= me and of['idle'] > tonumber(ARGV[5]) then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, of['name'])
    end
  end
  return {}
end
table.sort(held, function(one, two)
  if one[2] ~= two[2] then return one[2] < two[2] end
  return one[3] < two[3]
end)
local ids = {}
for at = 1, math.min(most, #held) do ids[at] = held[at][1] end
return redis.call('XCLAIM', KEYS[1], group, me, 0, unpack(ids))
