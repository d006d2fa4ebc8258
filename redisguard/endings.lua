
-- A look at the stream of endings, which is KEYS[2]. ARGV[4] is the node's time. The
-- answer: since, now, the last id ever, the first that is there, how many are there
-- and how many there ever were.
if lost and near(tonumber(ARGV[4])) then
  begin()
elseif lost then
  since = 0 -- the record is not about what this store holds
end
local last, first, length, added = '0-0', '0-0', 0, 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  local about = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #about, 2 do
    local name, value = about[i], about[i + 1]
    if name == 'last-generated-id' then
      last = value
    elseif name == 'length' then
      length = value
    elseif name == 'entries-added' then
      added = value
    elseif name == 'first-entry' and value then
      first = value[1]
    end
  end
end
return string.format('%.0f %.0f %s %s %.0f %.0f', since, now, last, first, length, added)
