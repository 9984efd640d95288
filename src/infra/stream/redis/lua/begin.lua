-- KEYS: stream. ARGV: the id before the first. An id is given and taken back: only the last id remains.
if tail(KEYS[1]) == '0-0' and ARGV[1] ~= '0-0' then
  redis.call('XADD', KEYS[1], ARGV[1], 'begin', '')
  redis.call('XDEL', KEYS[1], ARGV[1])
end
return redis.status_reply('OK')
