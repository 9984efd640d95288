-- KEYS: stream. ARGV: the position to trim up to. Never beyond what a group was given and has not acknowledged.
local function position(id) return tonumber(string.match(id, '^(%d+)-')) end
local id, length = tail(KEYS[1])
if length == 0 then return 0 end
local upto = math.min(tonumber(ARGV[1]), position(id))
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for at = 1, #group, 2 do of[group[at]] = group[at + 1] end
  local floor = position(of['last-delivered-id'])
  if of['pending'] > 0 then
    floor = position(redis.call('XPENDING', KEYS[1], of['name'])[2]) - 1
  end
  upto = math.min(upto, floor)
end
if upto < 1 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', upto + 1))
