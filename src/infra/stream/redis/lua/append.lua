-- KEYS: stream, meta. ARGV: epoch, expected last id, most entries, most bytes, weight of the batch; then of each entry
-- its id, its event's id, its type and its event. All are added or none.
if superseded(KEYS[2], tonumber(ARGV[1])) then return { 'superseded' } end
local id, length = tail(KEYS[1])
if id ~= ARGV[2] then return { 'tail', id } end
local count = (#ARGV - 5) / 4
-- An empty log takes any batch, or one large event would stop it for ever.
if length > 0 then
  if length + count > tonumber(ARGV[3]) then return { 'full' } end
  local used = redis.pcall('MEMORY', 'USAGE', KEYS[1])
  if type(used) == 'number' and used + tonumber(ARGV[5]) > tonumber(ARGV[4]) then return { 'full' } end
end
for at = 6, #ARGV, 4 do
  redis.call('XADD', KEYS[1], ARGV[at], 'eventId', ARGV[at + 1], 'type', ARGV[at + 2], 'payload', ARGV[at + 3])
end
return { 'all' }
