-- KEYS: the counter of each limit. ARGV, three for each: its limit, its window in ms, 1 if the request counts, else 0.
-- Answers 1 if admitted, else 0; then for each counter what it was before, and how many ms its window still runs.
local answer = {1}
for i, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  -- Without an end it is none of ours, or half of one: a new window begins.
  local count = left > 0 and tonumber(redis.call('GET', key)) or 0
  if left <= 0 then left = 0 end
  answer[2 * i] = count
  answer[2 * i + 1] = left
  if count >= tonumber(ARGV[3 * i - 2]) then answer[1] = 0 end
end
if answer[1] == 1 then
  for i, key in ipairs(KEYS) do
    if ARGV[3 * i] == '1' then
      if answer[2 * i + 1] > 0 then
        redis.call('INCR', key)
      else
        redis.call('SET', key, 1, 'PX', ARGV[3 * i - 1])
      end
    end
  end
end
return answer
