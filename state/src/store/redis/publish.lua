-- Puts a routing table in place in one step, if it is newer than the one that is held or is exactly that one.
--
-- KEYS  1 head, 2 nodes
-- ARGV  1 channel, 2 epoch, 3 revision, 4 digest, 5 strategy, 6 published at,
--       7 digest of the table that the changes start from; empty: the entries are the whole table,
--       8 number of nodes in that table, 9 number of entries to write,
--       then id and JSON of each entry to write, then the ids to remove
-- Reply {'accepted'}, {'fenced', held epoch, held revision}, or {'base'}: the changes do not fit what is held, send all.
--
-- Nothing is written before the last check, so an error (a key of the wrong type) leaves all as it was.
local head, nodes = KEYS[1], KEYS[2]
local epoch, revision, digest = ARGV[2], ARGV[3], ARGV[4]
local base, base_count = ARGV[7], tonumber(ARGV[8])
local first, entries = 10, tonumber(ARGV[9])

-- Versions stay decimal text: Lua's numbers are doubles, which lose whole numbers above 2^53.
local function decimal(text)
  return text and (text == '0' or string.find(text, '^[1-9]%d*$') ~= nil)
end
local function greater(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local held = redis.call('HMGET', head, 'epoch', 'revision', 'digest')
-- A head without a version is no table: whoever comes first repairs it.
local known = decimal(held[1]) and decimal(held[2])
if known then
  local newer = greater(epoch, held[1]) or (epoch == held[1] and greater(revision, held[2]))
  local same = epoch == held[1] and revision == held[2] and digest == held[3]
  if not newer and not same then
    return {'fenced', held[1], held[2]}
  end
end

if base ~= '' then
  -- The count finds a hash that was deleted or cut behind the head's back; its readers would see a torn table.
  if not known or held[3] ~= base or redis.call('HLEN', nodes) ~= base_count then
    return {'base'}
  end
else
  redis.call('DEL', nodes)
end

-- `unpack` puts its values on Lua's stack, which is limited.
local batch = 1000
local function in_batches(command, from, to)
  for i = from, to, batch do
    redis.call(command, nodes, unpack(ARGV, i, math.min(i + batch - 1, to)))
  end
end
local last_entry = first + 2 * entries - 1
in_batches('HSET', first, last_entry)
in_batches('HDEL', last_entry + 1, #ARGV)

redis.call('HSET', head, 'epoch', epoch, 'revision', revision, 'digest', digest,
  'strategy', ARGV[5], 'publishedAt', ARGV[6])
redis.call('PUBLISH', ARGV[1], epoch .. '.' .. revision)
return {'accepted'}
