-- Approves the release that status.plan shows, and only that one: the id fits no other release.
-- Argo CD runs a disabled action if it is asked to, so what discovery.lua asks is asked here again.
local plan = (obj.status or {}).plan or {}
if plan.id == nil or plan.reason ~= "ApprovalRequired" then
  error("no release waits for an approval")
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  error("the plan is for an older version of the manifest: look again")
end
if obj.spec.suspend == true then
  error("the resource is suspended: resume it and look at the plan again")
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["tair.alibabacloud.com/approve-release"] = plan.id
return obj
