"""Which host serves which region."""

import pytest

from tair_operator.aliyun.endpoints import Endpoint, endpoint_of

CENTRAL = ["cn-hangzhou", "cn-hangzhou-finance", "cn-shanghai", "cn-heyuan", "cn-wulanchabu"]
# The other public endpoints of R-kvstore in Alibaba's API metadata, April 2026.
REGIONAL = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "cn-beijing",
    "cn-beijing-finance-1",
    "cn-chengdu",
    "cn-fuzhou",
    "cn-guangzhou",
    "cn-hongkong",
    "cn-huhehaote",
    "cn-nanjing",
    "cn-qingdao",
    "cn-shanghai-finance-1",
    "cn-shenzhen",
    "cn-shenzhen-finance-1",
    "cn-wuhan-lr",
    "cn-zhangjiakou",
    "cn-zhengzhou-jva",
    "eu-central-1",
    "eu-west-1",
    "me-central-1",
    "me-east-1",
    "na-south-1",
    "us-east-1",
    "us-southeast-1",
    "us-west-1",
]


@pytest.mark.parametrize("region", CENTRAL)
def test_a_central_region_is_served_by_the_central_host(region: str) -> None:
    assert str(endpoint_of(region)) == "https://r-kvstore.aliyuncs.com"


@pytest.mark.parametrize("region", [*REGIONAL, "xx-new-9"])
def test_any_other_region_has_a_host_of_its_own_even_one_that_is_not_known_yet(region: str) -> None:
    assert str(endpoint_of(region)) == f"https://r-kvstore.{region}.aliyuncs.com"


@pytest.mark.parametrize("region", [*CENTRAL, *REGIONAL, "xx-new-9"])
def test_inside_a_vpc_every_region_has_a_host_of_its_own(region: str) -> None:
    assert str(endpoint_of(region, vpc=True)) == f"https://r-kvstore-vpc.{region}.aliyuncs.com"


@pytest.mark.parametrize(
    ("override", "endpoint"),
    [
        ("http://127.0.0.1:8080", Endpoint("http", "127.0.0.1:8080")),
        ("https://Cloud.Example/", Endpoint("https", "cloud.example")),
        ("https://cloud.example:443", Endpoint("https", "cloud.example")),
        ("http://cloud.example:80", Endpoint("http", "cloud.example")),
        ("https://cloud.example:80", Endpoint("https", "cloud.example:80")),
        ("http://[::1]:8080", Endpoint("http", "[::1]:8080")),
    ],
)
def test_an_override_wins_and_becomes_the_host_header_that_is_signed(override: str, endpoint: Endpoint) -> None:
    assert endpoint_of("cn-hangzhou", vpc=True, override=override) == endpoint


@pytest.mark.parametrize(
    "region", ["", "cn hangzhou", "cn-hangzhou.evil.example/", "CN-HANGZHOU", "-cn", "cn-hangzhou\n"]
)
def test_what_cannot_be_a_label_of_a_host_name_is_no_region(region: str) -> None:
    with pytest.raises(ValueError, match="is no region id"):
        endpoint_of(region)
