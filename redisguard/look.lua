
-- A look at the store, with no claim. ARGV[4] is the node's time. The answer: since,
-- now, keys evicted, Redis version, cluster or not, eviction policy.
local gone = evictions()
if not lost and gone > evicted then
  lost = 'eviction'
end
if lost then
  if near(tonumber(ARGV[4])) then
    begin()
  else
    since = 0 -- the record is not about what this store holds
  end
elseif now > seen + 500 or gone ~= evicted then
  seen, evicted = math.max(seen, now), gone
  save()
end
local server, cluster, memory = redis.call('INFO', 'server'), redis.call('INFO', 'cluster'), redis.call('INFO', 'memory')
return string.format('%.0f %.0f %.0f ', since, now, gone) ..
  (string.match(server, 'redis_version:([%w.]+)') or '?') .. ' ' ..
  (string.match(cluster, 'cluster_enabled:(%d)') or '0') .. ' ' ..
  (string.match(memory, 'maxmemory_policy:([%w-]+)') or '?')
