-- KEYS: stream. ARGV: group, then ids. Acknowledged and removed: the stream is a queue.
for at = 2, #ARGV do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
  redis.call('XDEL', KEYS[1], ARGV[at])
end
return redis.status_reply('OK')
