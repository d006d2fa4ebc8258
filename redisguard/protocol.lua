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
local _, at = string.find(replication, 'master_replid:', 1, true)
if not at or not string.find(replication, 'role:master\r', 1, true) then
  return redis.error_reply('NOTPRIMARY this is a replica, or a store that tells no replication id')
end
local history = string.sub(replication, at + 1, at + 40)

-- The record of the epoch has fields of fixed width, which are read faster than a
-- pattern matches: history, since, leeway, MaxSkew, the latest time seen (ms) and the
-- keys evicted.
local function write(since, leeway, skew, seen, evicted)
  redis.call('SET', KEYS[1], string.format('%s %015.0f %04.0f %04.0f %015.0f %015.0f',
    history, since, leeway, skew, seen, evicted))
end

local leeway, skew = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = tonumber(ARGV[3])
local coverLeeway, coverSkew = leeway, skew -- the largest that keys are kept for
local since, seen, evicted = 0, 0, 0
local lost -- why the store may have forgotten claims
do
  local record = redis.call('GET', KEYS[1])
  if not record or #record ~= 98 then
    lost = 'empty'
  else
    local keptLeeway, keptSkew = tonumber(string.sub(record, 58, 61)), tonumber(string.sub(record, 63, 66))
    since, seen, evicted = tonumber(string.sub(record, 42, 56)), tonumber(string.sub(record, 68, 82)), tonumber(string.sub(record, 84, 98))
    coverLeeway, coverSkew = math.max(leeway, keptLeeway), math.max(skew, keptSkew)
    if string.sub(record, 1, 40) ~= history then
      lost = 'process'
    elseif keptLeeway < leeway or keptSkew < skew then
      lost = 'cover' -- keys were kept for less long than this caller needs
    elseif now < seen - 1000 then
      lost = 'clock' -- it was ahead, so keys have expired early
    elseif since < known and known <= now + coverSkew * 1000 then
      -- Another store has taken claims that this one has not. An epoch that has not come
      -- is none of a store that keeps time with this one: a clock was ahead when it
      -- began. It would have every call begin another one, until it has come.
      lost = 'older'
    end
  end
end

local function evictions()
  return tonumber(string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')) or 0
end

-- The store is asked for evictions at most every 10 ms: that costs as much as ten
-- claims. For as long is unknown, too, how far its clock has come.
if not lost and now > seen + 10 then
  if evictions() ~= evicted then
    lost = 'eviction' -- or somebody reset the count
  else
    seen = now
    write(since, coverLeeway, coverSkew, seen, evicted)
  end
end

-- near says whether a node's clock, in whole seconds, is within MaxSkew of ours.
local function near(time)
  return now >= (time - skew) * 1000 and now < (time + 1 + skew) * 1000
end

-- begin makes the epoch begin now.
local function begin()
  since, seen, evicted = now, now, evictions()
  write(since, coverLeeway, coverSkew, seen, evicted)
end
