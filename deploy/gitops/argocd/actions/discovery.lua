-- What Argo CD offers for a TairInstance. Who may run it is decided by Argo CD's RBAC and by the API server.
local plan = (obj.status or {}).plan or {}
local is_suspended = obj.spec.suspend == true
local is_current = (obj.status or {}).observedGeneration == obj.metadata.generation
local waits = plan.id ~= nil and plan.reason == "ApprovalRequired" and is_current and not is_suspended

local approve = "Approve the release"
if waits then
  approve = "Approve the release " .. plan.id .. ": it cuts every client off"
end

return {
  approve = { displayName = approve, disabled = not waits },
  reconcile = { displayName = "Look again now", disabled = is_suspended },
  resume = { displayName = "Resume", disabled = not is_suspended },
  suspend = { displayName = "Suspend: look at nothing, call nothing", disabled = is_suspended },
}
