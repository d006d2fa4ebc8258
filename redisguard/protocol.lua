-- What every script begins with: the time, the process, the epoch.
--
-- KEYS[1] holds the epoch: since when this store remembers every claim. ARGV[1] and
-- ARGV[2] are the leeway and MaxSkew of the caller, in seconds, and ARGV[3] is the
-- latest epoch that it has seen, in ms.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) -- ms

-- The replication id is new whenever a process starts as a primary, becomes one or
-- is filled by another: whenever it may lack what was claimed before.
local replication = redis.call('INFO', 'replication')
local role = string.match(replication, 'role:(%a+)')
local history = string.match(replication, 'master_replid:(%x+)')
if role ~= 'master' or not history then
  return redis.error_reply('NOTPRIMARY this is a replica, or a store that tells no replication id')
end

local leeway, skew = tonumber(ARGV[1]), tonumber(ARGV[2])
local since, seen, evicted = 0, 0, 0 -- ms, ms, keys
local coverLeeway, coverSkew = leeway, skew
local lost -- why the store may have forgotten claims
do
  local record = redis.call('GET', KEYS[1])
  local was, a, b, c, d, e
  if record then
    was, a, b, c, d, e = string.match(record, '^(%x+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  end
  if not was then
    lost = 'empty'
  else
    since, seen, evicted = tonumber(a), tonumber(d), tonumber(e)
    coverLeeway, coverSkew = math.max(leeway, tonumber(b)), math.max(skew, tonumber(c))
    if was ~= history then
      lost = 'process'
    elseif tonumber(b) < leeway or tonumber(c) < skew then
      lost = 'cover' -- keys were kept for less long than this caller needs
    elseif now < seen - 1000 then
      lost = 'clock' -- it was ahead, so keys have expired early
    elseif since < tonumber(ARGV[3]) then
      lost = 'older' -- another store has taken claims that this one has not
    end
  end
end

local function save()
  redis.call('SET', KEYS[1], string.format('%s %.0f %.0f %.0f %.0f %.0f',
    history, since, coverLeeway, coverSkew, seen, evicted))
end

local function evictions()
  return tonumber(string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')) or 0
end

-- begin makes the epoch begin now.
local function begin()
  since, seen, evicted = now, now, evictions()
  save()
end

-- near says whether a node's clock, in whole seconds, is within MaxSkew of ours.
local function near(at)
  return now >= (at - skew) * 1000 and now < (at + 1 + skew) * 1000
end

-- The store is asked for evictions at most every 10 ms: that costs as much as ten
-- claims. For as long is unknown, too, how far its clock has come.
if not lost and now > seen + 10 then
  if evictions() ~= evicted then
    lost = 'eviction' -- or somebody reset the count
  else
    seen = now
    save()
  end
end
