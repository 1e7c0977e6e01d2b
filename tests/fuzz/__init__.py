"""What comes from outside, made up by the thousand: replies, parameters, resources, settings, seeds."""
