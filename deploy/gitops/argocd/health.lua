-- Health of a TairInstance in Argo CD, out of the conditions that its operator writes (docs/reference/conditions.md).
-- Without a check of its own, Argo CD takes every custom resource for healthy, also one that no operator has seen.
local generation = obj.metadata.generation
local status = obj.status
if status == nil or status.observedGeneration ~= generation then
  return { status = "Progressing", message = "Waiting for the operator to see this version of the manifest" }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  -- A condition about an older manifest says nothing about this one.
  if condition.observedGeneration == generation then
    conditions[condition.type] = condition
  end
end

-- The first that is true decides; Suspended is first, since a paused resource neither works nor needs anybody.
local meanings = {
  { type = "Suspended", health = "Suspended" },
  { type = "Stalled", health = "Degraded" },
  { type = "Reconciling", health = "Progressing" },
  { type = "Ready", health = "Healthy" },
}
for _, meaning in ipairs(meanings) do
  local condition = conditions[meaning.type]
  if condition ~= nil and condition.status == "True" then
    return { status = meaning.health, message = condition.message }
  end
end

local ready = conditions.Ready or {}
return { status = "Progressing", message = ready.message or "Waiting for the operator" }
