"""The environment of Toy-Legs: a biped on flat ground that has to stay up.

Its joints are held by PD controllers. How well it stands depends on their gains, so a sweep over
the gains has something to find: soft legs give way, stiff ones spend effort on every twitch.
"""

from pathlib import Path

import isaaclab.envs.mdp as mdp
import isaaclab.sim as sim_utils
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg, AssetBaseCfg
from isaaclab.envs import ManagerBasedRLEnvCfg
from isaaclab.managers import (
    EventTermCfg,
    ObservationGroupCfg,
    ObservationTermCfg,
    RewardTermCfg,
    TerminationTermCfg,
)
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass
from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg

_PACKAGE = Path(__file__).resolve().parent

ROBOT_CFG = ArticulationCfg(
    prim_path="{ENV_REGEX_NS}/Robot",
    spawn=sim_utils.UsdFileCfg(usd_path=str(_PACKAGE / "robot.usda")),
    init_state=ArticulationCfg.InitialStateCfg(
        pos=(0.0, 0.0, 0.9),
        joint_pos={
            ".*_hip_(yaw|roll)_joint": 0.0,
            ".*_hip_pitch_joint": -0.2,
            ".*_knee_joint": 0.4,
            ".*_ankle_joint": -0.2,
        },
    ),
    actuators={
        "legs": ImplicitActuatorCfg(
            joint_names_expr=[".*_hip_.*_joint", ".*_knee_joint"],
            joint_effort_limit=300.0,
            stiffness={
                ".*_hip_(yaw|roll)_joint": 100.0,
                ".*_hip_pitch_joint": 100.0,
                ".*_knee_joint": 200.0,
            },
            damping={".*_hip_.*_joint": 5.0, ".*_knee_joint": 5.0},
            armature=0.01,
        ),
        "feet": ImplicitActuatorCfg(
            joint_names_expr=[".*_ankle_joint"],
            joint_effort_limit=100.0,
            stiffness=150.0,
            damping=5.0,
            armature=0.01,
        ),
    },
)


@configclass
class SceneCfg(InteractiveSceneCfg):
    # Isaac Lab's own ground would be fetched from NVIDIA's asset server.
    ground = AssetBaseCfg(
        prim_path="/World/ground",
        spawn=sim_utils.GroundPlaneCfg(usd_path=str(_PACKAGE / "ground.usda")),
    )
    robot: ArticulationCfg = ROBOT_CFG


@configclass
class ActionsCfg:
    joint_pos = mdp.JointPositionActionCfg(
        asset_name="robot", joint_names=[".*"], scale=0.25, use_default_offset=True
    )


@configclass
class ObservationsCfg:
    @configclass
    class PolicyCfg(ObservationGroupCfg):
        base_lin_vel = ObservationTermCfg(func=mdp.base_lin_vel)
        base_ang_vel = ObservationTermCfg(func=mdp.base_ang_vel)
        projected_gravity = ObservationTermCfg(func=mdp.projected_gravity)
        joint_pos = ObservationTermCfg(func=mdp.joint_pos_rel)
        joint_vel = ObservationTermCfg(func=mdp.joint_vel_rel, scale=0.1)
        actions = ObservationTermCfg(func=mdp.last_action)

    policy: PolicyCfg = PolicyCfg()


@configclass
class RewardsCfg:
    alive = RewardTermCfg(func=mdp.is_alive, weight=1.0)
    upright = RewardTermCfg(func=mdp.flat_orientation_l2, weight=-1.0)
    effort = RewardTermCfg(func=mdp.joint_torques_l2, weight=-3.0e-5)
    action_rate = RewardTermCfg(func=mdp.action_rate_l2, weight=-0.01)
    terminating = RewardTermCfg(func=mdp.is_terminated, weight=-5.0)


@configclass
class TerminationsCfg:
    time_out = TerminationTermCfg(func=mdp.time_out, time_out=True)
    fell = TerminationTermCfg(func=mdp.root_height_below_minimum, params={"minimum_height": 0.5})


@configclass
class EventsCfg:
    reset_base = EventTermCfg(
        func=mdp.reset_root_state_uniform,
        mode="reset",
        params={"pose_range": {}, "velocity_range": {"x": (-0.2, 0.2)}},
    )
    reset_joints = EventTermCfg(
        func=mdp.reset_joints_by_offset,
        mode="reset",
        params={"position_range": (-0.05, 0.05), "velocity_range": (0.0, 0.0)},
    )


@configclass
class ToyLegsEnvCfg(ManagerBasedRLEnvCfg):
    scene: SceneCfg = SceneCfg(num_envs=64, env_spacing=3.0)
    sim: SimulationCfg = SimulationCfg(
        dt=0.01,
        render_interval=2,
        physics=NewtonCfg(
            solver_cfg=MJWarpSolverCfg(
                njmax=80, nconmax=25, cone="pyramidal", integrator="implicitfast", impratio=1
            ),
            num_substeps=1,
        ),
    )
    observations: ObservationsCfg = ObservationsCfg()
    actions: ActionsCfg = ActionsCfg()
    rewards: RewardsCfg = RewardsCfg()
    terminations: TerminationsCfg = TerminationsCfg()
    events: EventsCfg = EventsCfg()
    decimation = 2
    # 100 steps of 20 ms: every run of the sweep (12 iterations of 16 steps) ends a whole
    # episode in every environment, so its mean reward is always logged.
    episode_length_s = 2.0
