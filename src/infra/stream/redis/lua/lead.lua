-- KEYS: stream, meta. ARGV: epoch. The last id, or nothing to an owner of an earlier epoch.
if superseded(KEYS[2], tonumber(ARGV[1])) then return false end
local id = tail(KEYS[1])
return id
