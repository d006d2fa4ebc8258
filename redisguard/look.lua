
-- A look at the store, with no claim. ARGV[4] is the node's time. The answer: since,
-- now, keys evicted, Redis version, cluster or not, eviction policy.
if lost and near(tonumber(ARGV[4])) then
  begin()
elseif lost then
  since = 0 -- the record is not about what this store holds
end
local server, cluster, memory = redis.call('INFO', 'server'), redis.call('INFO', 'cluster'), redis.call('INFO', 'memory')
return string.format('%.0f %.0f %.0f ', since, now, evicted) ..
  (string.match(server, 'redis_version:([%w.]+)') or '?') .. ' ' ..
  (string.match(cluster, 'cluster_enabled:(%d)') or '0') .. ' ' ..
  (string.match(memory, 'maxmemory_policy:([%w-]+)') or '?')
