
-- Claims. KEYS[2], KEYS[3] … are the tickets; for each, four of ARGV from ARGV[4]
-- on: the node's time, issued, expires, and a value that no other claim has.
-- The answer: since, now, and a letter for each claim.
if lost then
  local honest = false
  for i = 4, #ARGV, 4 do
    honest = honest or near(tonumber(ARGV[i]))
  end
  if honest then
    begin()
  else
    since = 0 -- the record is not about what this store holds
  end
end

local early = since + (coverLeeway + 2 * coverSkew) * 1000
local verdicts, trouble = {}, ''
for i = 2, #KEYS do
  local a = 4 * i - 4
  local verdict
  if not near(tonumber(ARGV[a])) then
    verdict = 's' -- the clocks disagree
  elseif ARGV[a + 1] * 1000 <= early then
    verdict = 'e' -- issued before the epoch
  else
    local value = ARGV[a + 3]
    local old = redis.pcall('SET', KEYS[i], value, 'NX', 'GET', 'PXAT', (ARGV[a + 2] + coverLeeway + coverSkew + 1) * 1000)
    if not old then
      verdict = 'c' -- claimed
    elseif type(old) == 'table' then
      verdict, trouble = 'u', old.err
    elseif old == value then
      -- This very claim was here before and its answer got lost. Write it once more, so
      -- that a WAIT behind this script waits for it.
      redis.call('SET', KEYS[i], value, 'XX', 'KEEPTTL')
      verdict = 'c'
    else
      verdict = 'r' -- replayed
    end
  end
  verdicts[i - 1] = verdict
end
return string.format('%.0f %.0f %s %s', since, now, table.concat(verdicts), trouble)
