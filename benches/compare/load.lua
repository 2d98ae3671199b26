-- The requests that wrk sends. Arguments: "one" PATH | "conditional" PATH ETAG | "zipf" KEYS |
-- "unique" RUN. Prints one line of JSON at the end, after the word "result".

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

-- Returns a function that gives the next of `requests`, round and round.
local function cycle(requests, start)
  local count, i = #requests, start
  return function()
    i = i % count + 1
    return requests[i]
  end
end

-- Requests whose keys follow Zipf's law with exponent 1: key k is requested in proportion to 1/k.
-- They are drawn beforehand, with a fixed seed, so that every target gets the same requests and
-- drawing costs the load nothing.
local function zipf(keys)
  local sums, total = {}, 0
  for k = 1, keys do
    total = total + 1 / k
    sums[k] = total
  end
  local made, requests = {}, {}
  math.randomseed(20260101)
  for n = 1, 262144 do
    local x, low, high = math.random() * total, 1, keys
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < x then low = middle + 1 else high = middle end
    end
    made[low] = made[low] or wrk.format("GET", string.format("/1k/%012d", low))
    requests[n] = made[low]
  end
  return cycle(requests, id * 1009)
end

function init(args)
  local mode = args[1]
  if mode == "one" then
    request = cycle({ wrk.format("GET", args[2]) }, 0)
  elseif mode == "conditional" then
    request = cycle({ wrk.format("GET", args[2], { ["If-None-Match"] = args[3] }) }, 0)
  elseif mode == "zipf" then
    request = zipf(tonumber(args[2]))
  elseif mode == "unique" then
    -- A key that is requested only once: 3 digits for the run, 2 for the thread, 7 that count.
    local parts = wrk.format("GET", "/miss?n=@")
    local before, after = parts:match("^(.-)@(.*)$")
    local prefix, n = before .. string.format("%03d%02d", tonumber(args[2]), id), 0
    request = function()
      n = n + 1
      return prefix .. string.format("%07d", n) .. after
    end
  else
    error("unknown mode " .. tostring(mode))
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'result {"requests": %d, "seconds": %f, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
