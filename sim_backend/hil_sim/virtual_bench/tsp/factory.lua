-- What a 2600B has beside its commands: bit functions, exit, the nodes of TSP-Link, and the factory
-- scripts KISweep and KIPulse, by their descriptions in the reference manual
-- (2600BS-901-01, "Factory scripts" and the command reference).
local EXIT = "\1exit"

function exit()
  error(EXIT, 0)
end

local function both(a, b, choose)
  local out, value = 0, 1
  a, b = math.floor(a), math.floor(b)
  while a > 0 or b > 0 do
    local x, y = math.fmod(a, 2), math.fmod(b, 2)
    if choose(x, y) then out = out + value end
    a, b, value = (a - x) / 2, (b - y) / 2, value * 2
  end
  return out
end

local function one(a, at)
  return math.fmod(math.floor(a / 2 ^ (at - 1)), 2) == 1
end

bit = {}
function bit.bitand(a, b) return both(a, b, function(x, y) return x == 1 and y == 1 end) end
function bit.bitor(a, b) return both(a, b, function(x, y) return x == 1 or y == 1 end) end
function bit.bitxor(a, b) return both(a, b, function(x, y) return x ~= y end) end
bit.test = one
function bit.set(a, at) return one(a, at) and a or a + 2 ^ (at - 1) end
function bit.clear(a, at) return one(a, at) and a - 2 ^ (at - 1) or a end
function bit.toggle(a, at) return one(a, at) and a - 2 ^ (at - 1) or a + 2 ^ (at - 1) end
function bit.get(a, at) return one(a, at) and 2 ^ (at - 1) or 0 end
function bit.getfield(a, at, width) return math.fmod(math.floor(a / 2 ^ (at - 1)), 2 ^ width) end
function bit.setfield(a, at, width, value)
  return a - bit.getfield(a, at, width) * 2 ^ (at - 1) + value * 2 ^ (at - 1)
end

-- Only this instrument is on the bench's TSP-Link network, as node 1.
local everything = _G
node = {
  setmetatable({}, {
    __index = function(_, key)
      local value = everything[key]
      if value == nil then value = localnode[key] end
      return value
    end,
    __newindex = function(_, key, value) localnode[key] = value end,
  }),
}

local OVERHEAD_S = 10e-6  -- between the end of a measurement and that of its pulse
local tests = {}

local function listed(start, stop, points, logarithmic)
  local out = {}
  for k = 1, points do
    local part = points > 1 and (k - 1) / (points - 1) or 0
    out[k] = logarithmic and start * (stop / start) ^ part or start + (stop - start) * part
  end
  return out
end

-- What differs between sourcing a voltage and a current.
local VOLTS = {func = "OUTPUT_DCVOLTS", list = "listv", limit = "limiti", level = "levelv",
               range = "rangev", autorange = "autorangev", measure = "i"}
local AMPS = {func = "OUTPUT_DCAMPS", list = "listi", limit = "limitv", level = "leveli",
              range = "rangei", autorange = "autorangei", measure = "v"}

-- A sweep of the trigger model. `timing` is nil for levels that are held, else the period timer, the
-- measure timer and the width timer, which start when `begin` comes.
local function arm(kind, smu, levels, points, limit, buffer, timing, begin)
  local t = smu.trigger
  t.source[kind.list](levels)
  t.source[kind.limit] = limit
  t.source.action = smu.ENABLE
  t.source.stimulus = timing and timing[1].EVENT_ID or 0
  t.measure.stimulus = timing and timing[2].EVENT_ID or 0
  t.endpulse.stimulus = timing and timing[3].EVENT_ID or 0
  t.endpulse.action = timing and smu.SOURCE_IDLE or smu.SOURCE_HOLD
  t.endsweep.action = smu.SOURCE_IDLE
  t.measure.action = buffer and smu.ENABLE or smu.DISABLE
  if buffer then t.measure[kind.measure](buffer) end
  t.arm.count, t.arm.stimulus, t.count = 1, 0, points
  if timing then
    timing[1].stimulus = begin
    timing[2].stimulus = timing[1].EVENT_ID
    timing[3].stimulus = timing[1].EVENT_ID
  end
end

local function sweep(kind, smu, levels, stime, points)
  smu.source.func = smu[kind.func]
  smu.source.delay = stime
  smu.nvbuffer1.clear()
  smu.nvbuffer1.collectsourcevalues, smu.nvbuffer1.collecttimestamps = 1, 1
  arm(kind, smu, levels, points, smu.source[kind.limit], smu.nvbuffer1)
  smu.source.output = smu.OUTPUT_ON
  smu.trigger.initiate()
  waitcomplete()
  smu.source.output = smu.OUTPUT_OFF
end

function SweepVLinMeasureI(smu, startv, stopv, stime, points)
  sweep(VOLTS, smu, listed(startv, stopv, points), stime, points)
end

function SweepVLogMeasureI(smu, startv, stopv, stime, points)
  sweep(VOLTS, smu, listed(startv, stopv, points, true), stime, points)
end

function SweepVListMeasureI(smu, vlist, stime, points)
  sweep(VOLTS, smu, vlist, stime, points)
end

function SweepILinMeasureV(smu, starti, stopi, stime, points)
  sweep(AMPS, smu, listed(starti, stopi, points), stime, points)
end

function SweepILogMeasureV(smu, starti, stopi, stime, points)
  sweep(AMPS, smu, listed(starti, stopi, points, true), stime, points)
end

function SweepIListMeasureV(smu, ilist, stime, points)
  sweep(AMPS, smu, ilist, stime, points)
end

local function configure(kind, smu, bias, levels, limit, ton, toff, points, buffer, tag)
  if smu == nil then return false, "Argument Error: smu is not specified" end
  if type(tag) ~= "number" then return false, "Argument Error: tag is not a number" end
  if points < 1 then return false, "Argument Error: points is less than 1" end
  local aperture = smu.measure.nplc / localnode.linefreq
  if ton <= 0 or toff <= 0 then return false, "Argument Error: ton or toff is too small" end
  if buffer and ton < aperture + OVERHEAD_S then
    return false, "Argument Error: ton is too small for the measurement"
  end
  local top = math.abs(bias)
  for _, level in ipairs(levels) do top = math.max(top, math.abs(level)) end
  if smu.source[kind.autorange] == 0 and top > smu.source[kind.range] * 1.01 then
    return false, "Argument Error: a level is beyond the source range"
  end
  tests[tag] = {
    kind = kind, smu = smu, bias = bias, levels = levels, limit = limit, ton = ton, toff = toff,
    points = points, buffer = buffer, aperture = aperture,
  }
  return true, "Success"
end

for name, kind in pairs({PulseVMeasureI = VOLTS, PulseIMeasureV = AMPS}) do
  everything["Config" .. name] = function(smu, bias, level, limit, ton, toff, points, buffer, tag)
    local levels = listed(level, level, points)
    return configure(kind, smu, bias, levels, limit, ton, toff, points, buffer, tag)
  end
  for suffix, logarithmic in pairs({SweepLin = false, SweepLog = true}) do
    everything["Config" .. name .. suffix] =
      function(smu, bias, start, stop, limit, ton, toff, points, buffer, tag)
        local levels = listed(start, stop, points, logarithmic)
        return configure(kind, smu, bias, levels, limit, ton, toff, points, buffer, tag)
      end
  end
end

local function prepared(tag, first, begin)
  local test = tests[tag]
  if test == nil then return nil, "Argument Error: tag is not configured" end
  local smu = test.smu
  if smu.source.output ~= smu.OUTPUT_ON then return nil, "Error: the output is off" end
  if smu.source.func ~= smu[test.kind.func] then
    return nil, "Error: the source function is another one"
  end
  local timing = {}
  for k = 1, 3 do
    timing[k] = trigger.timer[first + k - 1]
    timing[k].reset()
    timing[k].count = 1
  end
  timing[1].count = test.points > 1 and test.points - 1 or 1
  timing[1].delay = test.ton + test.toff
  timing[1].passthrough = true
  timing[2].delay = math.max(test.ton - test.aperture - OVERHEAD_S, 0)
  timing[3].delay = test.ton
  smu.source[test.kind.level] = test.bias
  arm(test.kind, smu, test.levels, test.points, test.limit, test.buffer, timing,
      begin or smu.trigger.ARMED_EVENT_ID)
  return test
end

function InitiatePulseTest(tag)
  local test, message = prepared(tag, 1)
  if test == nil then return false, message end
  test.smu.trigger.initiate()
  waitcomplete()
  return true, "Success"
end

function InitiatePulseTestDual(tag1, tag2)
  local first, message = prepared(tag1, 1)
  if first == nil then return false, message end
  local second, other = prepared(tag2, 4, first.smu.trigger.ARMED_EVENT_ID)
  if second == nil then return false, other end
  second.smu.trigger.initiate()
  first.smu.trigger.initiate()
  waitcomplete()
  return true, "Success"
end

return EXIT
