-- The last id a stream has given (it survives trimming), and how many entries it holds.
local function tail(key)
  local id, length = '0-0', 0
  if redis.call('EXISTS', key) == 0 then return id, length end
  local info = redis.call('XINFO', 'STREAM', key)
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then id = info[at + 1] end
    if info[at] == 'length' then length = info[at + 1] end
  end
  return id, length
end

-- Whether an owner of a later epoch has been here; if not, the owner of this one has.
local function superseded(meta, epoch)
  local known = tonumber(redis.call('HGET', meta, 'epoch') or '0')
  if epoch < known then return true end
  if epoch > known then redis.call('HSET', meta, 'epoch', string.format('%.0f', epoch)) end
  return false
end
